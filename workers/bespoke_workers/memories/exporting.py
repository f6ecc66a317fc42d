"""Exporting a user's memories: streamed, of one moment, whole or not at all."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.jobs import Progress
from bespoke_schemas.memories import Export, Exported
from bespoke_schemas.memories.many import MANY_LIMIT
from bespoke_workers.database.engine import Database
from bespoke_workers.database.file_locks import hold_file
from bespoke_workers.database.once import once
from bespoke_workers.errors import Refused
from bespoke_workers.memories.record_file import ROWS_AT_ONCE, write_records
from bespoke_workers.memories.record_statements import EXPORT
from bespoke_workers.memories.records import record_of
from bespoke_workers.observe import events
from bespoke_workers.outbox import Tell, to_nobody
from bespoke_workers.storage.places import Place, Storage


class Exporting:
    """Writes the memories of any user to files in the storage."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    async def export(self, payload: Export, tell: Tell = to_nobody) -> Exported:
        """Write a user's memories to a file, which has its name only when it is whole.

        ``tell`` hears how many of them are written.
        Once per job id, but for an inline one: that is a read, whose contents are kept nowhere.
        Raises Refused for a name outside the storage, and where inline there are too many.
        """
        if payload.inline:
            return await self._inline(payload)
        default = f"memories-{payload.id}.jsonl.gz"
        place = self._storage.place(default if payload.name is None else payload.name)

        async def effect(session: AsyncSession) -> Exported:
            return await self._write(await session.connection(), payload, place, tell)

        exported = await once(self._database, payload, effect)
        events.emit(
            "dspy.memory.export",
            user_id=payload.user_id,
            count=exported.count,
            size_bytes=exported.size_bytes,
        )
        return exported

    async def _inline(self, payload: Export) -> Exported:
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(EXPORT, _sought(payload, MANY_LIMIT + 1))).all()
        if len(rows) > MANY_LIMIT:
            raise Refused(f"more than {MANY_LIMIT} memories; export them to a file: inline=False")
        records = tuple(record_of(row, payload.user_id) for row in rows)
        events.emit("dspy.memory.export", user_id=payload.user_id, count=len(rows), size_bytes=0)
        return Exported(url=None, count=len(rows), records=records)

    async def _write(
        self, connection: AsyncConnection, payload: Export, place: Place, tell: Tell
    ) -> Exported:
        pages = _pages(connection, payload, place, tell)
        count, size, sha256 = await write_records(
            self._storage, place, str(payload.id), payload.user_id, pages
        )
        return Exported(url=place.url, count=count, size_bytes=size, sha256=sha256)


async def _pages(
    connection: AsyncConnection, payload: Export, place: Place, tell: Tell
) -> AsyncGenerator[Sequence[Any], None]:
    """Yield pages of rows; whoever takes the next one has written the one before.

    After the last one the file is held until it has its name, which is all that it lacks then.
    """
    done = 0
    options = {"yield_per": ROWS_AT_ONCE}
    rows = await connection.stream(EXPORT, _sought(payload, None), execution_options=options)
    async for page in rows.partitions(ROWS_AT_ONCE):
        yield page
        done += len(page)
        tell(Progress(step="exporting", done=done, total=page[0].total))
    await hold_file(connection, place.path)


def _sought(payload: Export, limit: int | None) -> dict[str, object]:
    return {
        "user_id": payload.user_id,
        "tags": list(payload.tags),
        "kind": payload.kind,
        "limit": limit,
    }
