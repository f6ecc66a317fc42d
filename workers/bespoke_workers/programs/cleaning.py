"""Cleanups: an owner's or everybody's versions, page by page, each page in a transaction.

How far a cleanup is stands in its job's row, so that a killed one goes on where it was. Between
slices of some seconds the job goes back to the end of its queue.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import Row, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.programs import CleanedUp, Cleanup
from bespoke_workers.database import once
from bespoke_workers.database.engine import Database
from bespoke_workers.database.records import ACCEPTED
from bespoke_workers.database.tables import Job, ProgramVersion
from bespoke_workers.errors import Transient
from bespoke_workers.outbox import Outbox
from bespoke_workers.programs import announcing
from bespoke_workers.programs import cleanup_statements as statements
from bespoke_workers.programs.cleaning_progress import CleaningProgress
from bespoke_workers.programs.finding import plan_each_time
from bespoke_workers.settings import Settings

SLICE_SECONDS: Final = 2.0
"""For which a cleanup goes on before others of its queue have their turn."""
VERSIONS: Final = 10_000
"""That one page looks at, and deletes at most: some tenths of a second."""
NIGHTS: Final = UUID("0d7e1c52-62ab-5a0f-8a43-3c1e8a5f7b90")
"""The namespace of the ids of nightly cleanups."""


class Cleaning:
    """Deletes what is too many."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        outbox: Outbox,
        *,
        versions: int = VERSIONS,
    ) -> None:
        self._database = database
        self._max_stored = settings.max_stored_programs
        self._outbox = outbox
        self._night = settings.night
        self._versions = versions

    async def clean_up(self, payload: Cleanup) -> CleanedUp | None:
        """Clean up for a slice of time; None if there is more to do, for which it is sent again.

        Once per job id. Raises as the job ended if it ended before, Transient if the broker
        is away.
        """
        deadline = monotonic() + SLICE_SECONDS
        while True:
            async with self._database.transaction() as session:
                found = await self._begun(session, payload)
                if isinstance(found, CleanedUp):
                    return found
                reached = await self._page(session, payload, found)
                await _write(session, payload, reached)
            if reached.at == "done":
                return _announced(payload, reached)
            if monotonic() > deadline:
                self._send(payload)
                return None

    def enqueue_nightly(self) -> None:
        """Enqueue tonight's cleanup of everybody; its id is the night's, so it is one.

        Raises Transient if the broker is away.
        """
        tonight = self._night(datetime.now(UTC))
        self._send(Cleanup(id=uuid5(NIGHTS, tonight.isoformat())))

    def _send(self, payload: Cleanup) -> None:
        try:
            self._outbox.enqueue(payload)
        except Exception as error:
            raise Transient(f"the broker failed: {type(error).__name__}") from error

    async def _begun(self, session: AsyncSession, payload: Cleanup) -> CleaningProgress | CleanedUp:
        """Return how far the cleanup is, which nobody else changes now, or its result."""
        begin = CleaningProgress.begin(payload, self._max_stored)
        await session.exec(
            insert(Job)
            .values(
                id=payload.id,
                task=payload.task,
                user_id=payload.subject(),
                state=ACCEPTED,
                result=begin.model_dump(mode="json"),
            )
            .on_conflict_do_nothing()
        )
        job = await session.get(Job, payload.id, with_for_update=True)
        if job is None:
            raise Transient("the job's record has just been erased; the job is tried again")
        is_own = (job.task, job.user_id) == (payload.task, payload.subject())
        if is_own and job.state == ACCEPTED:
            return CleaningProgress.model_validate(job.result)
        return once.answer(payload, job)

    async def _page(
        self, session: AsyncSession, payload: Cleanup, progress: CleaningProgress
    ) -> CleaningProgress:
        """Delete what is too many of the next owners and programs; return how far it is then."""
        connection = await session.connection()
        await plan_each_time(connection)
        groups = await self._groups(session, payload, progress)
        is_last = sum(group.stored for group in groups) < self._versions
        due = [
            group
            for group in groups
            if payload.program in (None, group.program)
            # Of the last group of a full page there may be more than was counted.
            and (group.stored > progress.max_stored or (group is groups[-1] and not is_last))
        ]
        planned = await self._surplus(connection, payload, progress, due) if due else []
        if payload.dry_run:
            sizes = {row.id: row.size_bytes for row in planned}
        else:
            sizes = await _delete(connection, planned)
        progress = progress.with_deleted(planned, sizes)
        if len(planned) == self._versions and not payload.dry_run:
            return progress  # there may be more of the same to delete
        if not is_last:
            # Whatever of it is left, if anything is, tells where this page ended.
            left = await _one_of(session, groups[-1])
            return progress if left is None else progress.through(left)
        everybody = payload.user_id is None and not payload.shared
        return progress.at_end_of_part(everybody=everybody)

    async def _groups(
        self, session: AsyncSession, payload: Cleanup, progress: CleaningProgress
    ) -> Sequence[Row[Any]]:
        """Count what the next owners and programs have; from the start if the mark is gone."""
        user_id, program = await _place(session, progress.after)
        page: dict[str, Any] = {"most": self._versions, "program": program}
        if progress.at == "base":
            statement = statements.GROUPS_OF_BASE
        elif payload.user_id is not None:
            statement, page["user_id"] = statements.GROUPS_OF_USER, payload.user_id
        else:
            statement, page["user_id"] = statements.GROUPS_OF_USERS, user_id
        return (await (await session.connection()).execute(statement, page)).all()

    async def _surplus(
        self,
        connection: AsyncConnection,
        payload: Cleanup,
        progress: CleaningProgress,
        due: Sequence[Row[Any]],
    ) -> Sequence[Row[Any]]:
        """Find what is too many, the least valuable first, and keep it from coming into use."""
        parameters: dict[str, Any] = {
            "programs": [group.program for group in due],
            "max_stored": progress.max_stored,
            "most": None if payload.dry_run else self._versions,
        }
        if progress.at == "base":
            found = await connection.execute(statements.SURPLUS_OF_BASE, parameters)
        else:
            parameters["users"] = [group.user_id for group in due]
            found = await connection.execute(statements.SURPLUS_OF_USERS, parameters)
        return found.all()


async def _place(session: AsyncSession, version_id: UUID | None) -> tuple[str, str]:
    """Return a version's owner and program; what stands before all where it is gone."""
    place = select(ProgramVersion.user_id, ProgramVersion.program)
    found = await session.exec(place.where(col(ProgramVersion.id) == version_id))
    user_id, program = found.first() or (None, "")
    return user_id or "", program


async def _one_of(session: AsyncSession, group: Row[Any]) -> UUID | None:
    """Return a version of an owner and program; None if there is none any more."""
    owned = col(ProgramVersion.user_id) == group.user_id
    found = await session.exec(
        select(ProgramVersion.id)
        .where(owned, col(ProgramVersion.program) == group.program)
        .limit(1)
    )
    return found.first()


async def _delete(connection: AsyncConnection, planned: Sequence[Row[Any]]) -> dict[UUID, int]:
    """Delete what is still not protected; return the sizes by id."""
    if not planned:
        return {}
    versions = {
        "ids": [row.id for row in planned],
        "owners": [row.user_id for row in planned],
    }
    found = await connection.execute(statements.DELETE, versions)
    return {row.id: row.size_bytes for row in found}


async def _write(session: AsyncSession, payload: Cleanup, reached: CleaningProgress) -> None:
    """Write how far the cleanup is, or its result."""
    is_done = reached.at == "done"
    result = reached.result(dry_run=payload.dry_run) if is_done else reached
    await session.exec(
        update(Job)
        .where(col(Job.id) == payload.id)
        .values(
            state="done" if is_done else ACCEPTED,
            result=result.model_dump(mode="json"),
            finished_at=func.now(),
        )
    )


def _announced(payload: Cleanup, reached: CleaningProgress) -> CleanedUp:
    result = reached.result(dry_run=payload.dry_run)
    if not payload.dry_run:
        announcing.cleaned_up(payload.user_id, payload.program, result)
    return result
