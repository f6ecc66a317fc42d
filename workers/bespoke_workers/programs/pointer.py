"""The pointer to the version in use: moved here and nowhere else."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.ids import uuid7
from bespoke_workers.database.tables import ActiveProgram, ProgramVersion
from bespoke_workers.errors import Refused

Target = tuple[str | None, str, UUID]
"""User (None: the shared base), program, and the version to put into use."""


async def move(session: AsyncSession, targets: Sequence[Target]) -> None:
    """Point each user's program at a version; each pair of user and program at most once.

    ``generation`` rises only where the pointer really moves.
    """
    if not targets:
        return
    statement = insert(ActiveProgram).values(
        [
            {
                "id": uuid7(), "user_id": user_id, "program": program,
                "version_id": version_id, "generation": 1,
            }
            for user_id, program, version_id in targets
        ]
    )  # fmt: skip
    moved = statement.excluded
    await session.exec(
        statement.on_conflict_do_update(
            constraint="active_program_owner",
            set_={
                "version_id": moved.version_id,
                "generation": col(ActiveProgram.generation) + 1,
                "moved_at": func.now(),
            },
            where=col(ActiveProgram.version_id) != moved.version_id,
        )
    )


async def check_usable(
    session: AsyncSession, user_id: str | None, program: str, version_id: UUID
) -> None:
    """Raise Refused unless the version is one of this program, the user's own or shared."""
    found = await session.exec(
        select(ProgramVersion.id).where(
            col(ProgramVersion.id) == version_id,
            col(ProgramVersion.program) == program,
            or_(col(ProgramVersion.user_id) == user_id, col(ProgramVersion.user_id).is_(None)),
        )
    )
    if found.first() is None:
        raise Refused(
            f"no version {version_id} of program {program!r} that this user may use; "
            "save or import it first"
        )


async def in_use(session: AsyncSession, user_id: str | None, program: str) -> ProgramVersion | None:
    """Return the user's version in use, else the shared base's, else None."""
    owner = col(ActiveProgram.user_id)
    found = await session.exec(
        select(ProgramVersion)
        .join(ActiveProgram, col(ActiveProgram.version_id) == col(ProgramVersion.id))
        .where(col(ActiveProgram.program) == program, or_(owner == user_id, owner.is_(None)))
        .order_by(owner.asc().nulls_last())
        .limit(1)
    )
    return found.first()
