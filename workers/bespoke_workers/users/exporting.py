"""Exporting all that there is of a user: streamed, of one moment, whole or not at all."""

from typing import Any

from sqlalchemy import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.exports import ExportUser, UserExported
from bespoke_workers.database.engine import Database
from bespoke_workers.database.file_locks import hold_file
from bespoke_workers.database.once import once
from bespoke_workers.observe import events
from bespoke_workers.storage.files import Writer
from bespoke_workers.storage.offload import in_thread, write_whole
from bespoke_workers.storage.places import Place, Storage
from bespoke_workers.users.bundle_format import USER_BUNDLE, Encoder
from bespoke_workers.users.registered import SECTIONS
from bespoke_workers.users.sections import Section


class Exporting:
    """Writes users' bundles."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    async def export(self, payload: ExportUser) -> UserExported:
        """Write a user's bundle, which has its name only when it is whole; once per job id.

        Raises Refused for a name outside the storage.
        """
        # The user's own folder, by a name that does not tell who it is.
        default = f"users/{events.hashed(payload.user_id)}/{payload.id}.jsonl.gz"
        place = self._storage.place(default if payload.name is None else payload.name)

        async def effect(session: AsyncSession) -> UserExported:
            return await self._write(session, payload, place)

        exported = await once(self._database, payload, effect, snapshot=True)
        events.emit(
            "dspy.storage.export_user",
            user_id=payload.user_id,
            count=sum(exported.sections.values()),
            size_bytes=exported.size_bytes,
        )
        return exported

    async def _write(
        self, session: AsyncSession, payload: ExportUser, place: Place
    ) -> UserExported:
        writer = Writer(USER_BUNDLE, self._storage, place, str(payload.id))

        async def fill() -> dict[str, int]:
            sections = await _fill(session, payload.user_id, writer)
            await hold_file(await session.connection(), place.path)
            return sections

        sections, size, sha256 = await write_whole(writer, fill)
        return UserExported(url=place.url, sections=sections, size_bytes=size, sha256=sha256)


async def _fill(session: AsyncSession, user_id: str, writer: Writer) -> dict[str, int]:
    """Write header, entries and trailer; return the numbers of the entries."""
    encoder = Encoder()
    counts = {one.name: await _count(session, one, user_id) for one in SECTIONS}
    await in_thread(writer.write, [encoder.header(user_id, counts)])
    for section in SECTIONS:
        await _copy(session, section, user_id, encoder, writer)
    await in_thread(writer.write, [encoder.trailer()])
    return counts


async def _count(session: AsyncSession, section: Section[Any], user_id: str) -> int:
    rows = section.query(user_id).order_by(None).subquery()
    counted = await (await session.connection()).execute(select(func.count()).select_from(rows))
    return int(counted.scalar_one())


async def _copy(
    session: AsyncSession, section: Section[Any], user_id: str, encoder: Encoder, writer: Writer
) -> None:
    query = section.query(user_id).execution_options(yield_per=section.rows_at_once)
    found = await session.stream(query)
    # A query for one table gives its rows, one for more gives tuples of them.
    rows = found if len(query.column_descriptions) > 1 else found.scalars()
    async for page in rows.partitions(section.rows_at_once):
        lines = [encoder.entry(section.name, section.entry_of(row)) for row in page]
        await in_thread(writer.write, lines)
