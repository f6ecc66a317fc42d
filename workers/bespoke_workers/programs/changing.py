"""Changing the library: which version is in use, and which is no longer there.

A pointer holds the version it moves to, and a deletion holds the version it deletes, so that of
the two at the same time the later one sees what the earlier did.
"""

from uuid import UUID

from sqlalchemy import delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import ActiveProgram, OptimizationJob, ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.programs import announcing, pointer
from bespoke_workers.programs.library import Library

RUNNING = ("queued", "running")
"""States of an optimization that has not ended, and may be taken up again from a checkpoint."""


class Changing:
    """Deletes versions, puts them into use, and rolls back."""

    def __init__(self, database: Database, library: Library) -> None:
        self._database = database
        self._library = library

    async def delete(self, payload: programs.Delete) -> programs.Deleted:
        """Delete a version; raises Refused while it is in use or a running job's checkpoint."""
        deleted: list[ProgramVersion] = []

        async def effect(session: AsyncSession) -> programs.Deleted:
            version = await _held(session, payload.user_id, payload.program_id)
            if version is None:
                return programs.Deleted(deleted=False)
            await _check_unused(session, version)
            await _check_job_ended(session, version)
            await session.exec(
                delete(ProgramVersion).where(
                    col(ProgramVersion.id) == version.id,
                    col(ProgramVersion.user_id).is_not_distinct_from(payload.user_id),
                )
            )
            deleted.append(version)
            return programs.Deleted(deleted=True, size_bytes=version.size_bytes)

        result = await once(self._database, payload, effect)
        for version in deleted:
            announcing.deleted(
                payload.user_id, version.program, count=1, size_bytes=version.size_bytes
            )
        return result

    async def activate(self, payload: programs.Activate) -> programs.Activated:
        """Put a version into use; raises Refused unless the user may use it and it fits."""

        async def effect(session: AsyncSession) -> programs.Activated:
            user_id, program, version_id = payload.user_id, payload.program, payload.program_id
            version = await pointer.hold_usable(session, user_id, program, version_id)
            if version is None:
                raise pointer.unusable(program, version_id)
            self._library.module_for(program, version)
            before = await pointer.held(session, user_id, program)
            previous_id = before.version_id if before else None
            await pointer.move(session, [(user_id, program, version_id)], reason="activated")
            return programs.Activated(
                program_id=version_id, previous_id=previous_id, moved=previous_id != version_id
            )

        return await once(self._database, payload, effect)

    async def rollback(self, payload: programs.Rollback) -> programs.RolledBack:
        """Go back to the version in use before, which still is there and fits, or to none.

        Raises Refused if the program is unknown.
        """

        async def effect(session: AsyncSession) -> programs.RolledBack:
            self._library.registered(payload.program)
            row = await pointer.held(session, payload.user_id, payload.program)
            if row is None or row.version_id is None:
                return programs.RolledBack(program_id=None, previous_id=None, moved=False)
            target, skipped = await self._target(session, row)
            previous_id = row.version_id
            await pointer.undo(session, row, target)
            return programs.RolledBack(
                program_id=target.version_id if target else None,
                previous_id=previous_id,
                moved=True,
                skipped=skipped,
            )

        return await once(self._database, payload, effect)

    async def _target(
        self, session: AsyncSession, row: ActiveProgram
    ) -> tuple[pointer.Earlier | None, int]:
        """Return where a rollback goes, and how many earlier versions do not fit any more."""
        unfit: set[UUID] = set()
        for earlier in await pointer.earlier(session, row):
            if earlier.version_id in unfit:
                continue
            version = await pointer.hold_usable(
                session, row.user_id, row.program, earlier.version_id
            )
            if version is None:  # deleted since
                continue
            try:
                self._library.module_for(row.program, version)
            except Refused:
                unfit.add(earlier.version_id)
                continue
            return earlier, len(unfit)
        return None, len(unfit)


async def _held(
    session: AsyncSession, user_id: str | None, version_id: UUID
) -> ProgramVersion | None:
    """Return an owner's version, which no pointer can move to until the transaction ends."""
    found = await session.exec(
        select(ProgramVersion)
        .where(
            col(ProgramVersion.id) == version_id,
            col(ProgramVersion.user_id).is_not_distinct_from(user_id),
        )
        .with_for_update()
    )
    return found.one_or_none()


async def _check_unused(session: AsyncSession, version: ProgramVersion) -> None:
    users = await pointer.count_uses(session, version.id)
    if users:
        raise Refused(
            f"version {version.id} is in use for {users} owner{'s' if users > 1 else ''}; "
            "activate another one, or roll back, and delete it then"
        )


async def _check_job_ended(session: AsyncSession, version: ProgramVersion) -> None:
    if version.checkpoint_of is None:
        return
    job = OptimizationJob
    found = await session.exec(
        select(job.id).where(
            col(job.id) == version.checkpoint_of,
            col(job.user_id) == version.user_id,
            col(job.state).in_(RUNNING),
        )
    )
    if found.first() is not None:
        raise Refused(
            f"version {version.id} is a checkpoint of optimization {version.checkpoint_of}, "
            "which has not ended; cancel it, or delete the checkpoint once it has ended"
        )
