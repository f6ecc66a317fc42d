"""The events of the library of versions, each with its facts in one place.

None of them holds a state, a name that a user chose, or the text of an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from bespoke_schemas.exports import Exported, Imported
from bespoke_schemas.programs import CleanedUp
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.observe import events
from bespoke_workers.programs import versions


@contextmanager
def saving(user_id: str | None, program: str, program_id: UUID) -> Iterator[None]:
    """Tell that a version is being written, and of the failure if it is not."""
    facts = {"user_id": user_id, "program": program, "program_id": str(program_id)}
    events.emit("dspy.storage.save_start", **facts)
    try:
        yield
    except Exception as error:
        events.emit("dspy.storage.save_error", **facts, error=type(error).__name__)
        raise


def save_complete(version: ProgramVersion) -> None:
    """Tell that a version was saved; to be called after the commit."""
    events.emit(
        "dspy.storage.save_complete",
        user_id=version.user_id,
        program=version.program,
        program_id=str(version.id),
        optimizer=version.optimizer,
        score=version.score,
        size_bytes=version.size_bytes,
    )


@contextmanager
def loading(user_id: str | None, program: str | None = None) -> Iterator[list[ProgramVersion]]:
    """Give a list to put what is found into, and tell of it, or of the failure.

    ``program`` is what was asked for, if a program was.
    """
    asked = {} if program is None else {"program": program}
    found: list[ProgramVersion] = []
    events.emit("dspy.storage.load_start", user_id=user_id, **asked)
    try:
        yield found
    except Exception as error:
        events.emit("dspy.storage.load_error", user_id=user_id, **asked, error=type(error).__name__)
        raise
    if not found:
        events.emit("dspy.storage.load_complete", user_id=user_id, **asked, found=False)
    for version in found:
        events.emit(
            "dspy.storage.load_complete",
            user_id=user_id,
            found=True,
            program=version.program,
            program_id=str(version.id),
            age_s=versions.age_s(version),
            size_bytes=version.size_bytes,
        )


def deleted(user_id: str | None, program: str, *, count: int, size_bytes: int) -> None:
    """Tell that versions were deleted because somebody asked for it; after the commit."""
    events.emit(
        "dspy.storage.delete",
        user_id=user_id,
        program=program,
        deleted_count=count,
        size_bytes=size_bytes,
    )


def cleaned_up(user_id: str | None, program: str | None, result: CleanedUp) -> None:
    """Tell that a cleanup has ended; after the commit."""
    events.emit(
        "dspy.storage.cleanup",
        user_id=user_id,
        **({} if program is None else {"program": program}),
        deleted_count=result.deleted_count,
        kept_count=result.kept_count,
        size_bytes=result.size_bytes,
    )


def exported(user_id: str | None, result: Exported, seconds: float) -> None:
    """Tell that a bundle was written, and in which time; after the commit."""
    events.emit(
        "dspy.storage.export",
        user_id=user_id,
        count=result.count,
        size_bytes=result.size_bytes,
        seconds=round(seconds, 3),
    )


def imported(result: Imported, seconds: float) -> None:
    """Tell that a bundle was imported, and in which time; after the commit."""
    events.emit(
        "dspy.storage.import",
        imported=result.imported,
        unchanged=result.unchanged,
        activated=result.activated,
        seconds=round(seconds, 3),
    )
