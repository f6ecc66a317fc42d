"""Removing what a user wants gone: into the archive, like all that leaves a space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.memories import Clear, Cleared, Delete, Deleted
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.memories import statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.loading import Loader
from bespoke_workers.memories.locking import lock
from bespoke_workers.memories.space import NEVER, Space
from bespoke_workers.observe import events


@dataclass(frozen=True)
class Sought:
    """Which memories a job removes, for what reason; ``query`` reads their ids."""

    user_id: str
    run_id: UUID
    reason: str
    query: TextClause
    parameters: dict[str, Any]


@dataclass
class Removed:
    """What a removal did, as far as it got: a job done before removes nothing again."""

    space: Space | None = None
    ids: Sequence[UUID] = ()


class Removal:
    """Removes memories of any user. No vector is compared: the embedder does not matter."""

    def __init__(
        self, database: Database, loader: Loader, default: Defaults, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._loader = loader
        self._default = default
        self._clock = clock

    async def delete(self, payload: Delete) -> Deleted:
        """Remove one memory, if this user has it; once per job id.

        Raises Refused if the id belongs to another job.
        """
        parameters = {"user_id": payload.user_id, "ids": [payload.memory_id]}
        sought = Sought(
            payload.user_id, payload.id, "deleted", statements.READ_MEMORIES, parameters
        )
        removed = Removed()

        async def effect(session: AsyncSession) -> Deleted:
            return Deleted(deleted=await self._remove(session, sought, removed) > 0)

        async with self._loader.turn(payload.user_id):
            deleted = await once(self._database, payload, effect)
            self._follow(sought, removed)
        return deleted

    async def clear(self, payload: Clear) -> Cleared:
        """Remove all memories, or those of a kind and with all of some tags; once per job id.

        Raises Refused if the id belongs to another job.
        """
        parameters = {
            "user_id": payload.user_id,
            "tags": list(payload.tags),
            "kind": payload.kind,
            "pattern": None,
        }
        sought = Sought(payload.user_id, payload.id, "cleared", statements.SELECTED, parameters)
        removed = Removed()

        async def effect(session: AsyncSession) -> Cleared:
            return Cleared(removed_count=await self._remove(session, sought, removed))

        async with self._loader.turn(payload.user_id):
            cleared = await once(self._database, payload, effect)
            self._follow(sought, removed)
        return cleared

    async def _remove(self, session: AsyncSession, sought: Sought, removed: Removed) -> int:
        """Archive what is sought and return how many that were."""
        connection = await session.connection()
        if not await lock(connection, sought.user_id):
            return 0
        whose = {"user_id": sought.user_id}
        row = (await connection.execute(statements.READ_SPACE, whose)).one()
        ids = (await connection.execute(sought.query, sought.parameters)).scalars().all()
        if not ids:
            return 0
        version = row.version + 1
        await self._archive(connection, sought, version, ids)
        removed.space = await recounted(connection, sought.user_id, version, self._default)
        removed.ids = ids
        return len(ids)

    async def _archive(
        self, connection: AsyncConnection, sought: Sought, version: int, ids: Sequence[UUID]
    ) -> None:
        archive = Archive(
            connection,
            user_id=sought.user_id,
            run_id=sought.run_id,
            version=version,
            now=self._clock(),
        )
        await archive.take(ids, sought.reason)

    def _follow(self, sought: Sought, removed: Removed) -> None:
        """Bring the cached index to what is committed, and tell of it."""
        if removed.space is None:
            return
        self._loader.follow(sought.user_id, removed.space, removed=removed.ids)
        events.emit(
            f"dspy.memory.{sought.reason}",
            user_id=sought.user_id,
            removed_count=len(removed.ids),
            after_count=removed.space.count,
        )


async def recounted(
    connection: AsyncConnection, user_id: str, version: int, default: Defaults
) -> Space:
    """Count a space anew at a version; its row is locked by this transaction."""
    parameters = {"user_id": user_id, "version": version, "never": NEVER}
    row = (await connection.execute(statements.RECOUNT, parameters)).one()
    return Space.of(row, default)
