"""Export and import of versions: streamed in both directions, whole or not at all."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.exports import Exported, ExportPrograms, Imported, ImportPrograms
from bespoke_schemas.jobs import Progress
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.errors import Refused
from bespoke_workers.outbox import Tell, to_nobody
from bespoke_workers.programs import announcing, pointer, selection
from bespoke_workers.programs.bundle_format import LINE_LIMIT, Decoder, Encoder, Entry
from bespoke_workers.programs.imported import insert_entries
from bespoke_workers.settings import Settings
from bespoke_workers.storage.files import Kind, Writer, read_lines
from bespoke_workers.storage.offload import in_thread, write_whole
from bespoke_workers.storage.places import Place, Storage

BUNDLE = Kind("bundle", LINE_LIMIT, 2**30, "export fewer programs at a time")
"""Its limit is what a job of two minutes can read and check."""
ROWS_AT_ONCE = 25
"""Rows in memory during an export; a state may have eight million characters."""
ENTRIES_AT_ONCE = 200
BYTES_AT_ONCE = 4 * 2**20
"""An import takes entries until it has one of these."""


class _Checked(NamedTuple):
    sha256: str
    entries: int


class Bundles:
    """Writes versions to bundles in the storage and reads them back."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._storage = Storage(settings.storage)

    async def export(self, payload: ExportPrograms, tell: Tell = to_nobody) -> Exported:
        """Write the selected versions to a bundle, which has its name only when it is whole.

        ``tell`` hears how many of them are written. Raises Refused for a name outside the
        storage or ids that are not there.
        """
        default = f"programs-{payload.id}.jsonl.gz"
        place = self._storage.place(default if payload.name is None else payload.name)

        written: list[Exported] = []

        async def effect(session: AsyncSession) -> Exported:
            written.append(await self._write(session, payload, place, tell))
            return written[-1]

        exported = await once(self._database, payload, effect)
        if written:  # by this delivery
            announcing.exported(payload.user_id, exported)
        return exported

    async def import_(self, payload: ImportPrograms, tell: Tell = to_nobody) -> Imported:
        """Insert a bundle's versions, all or none; those that are there already are left alone.

        ``tell`` hears how many are checked, then how many are there. Raises Refused, naming the
        line and the reason, if anything in the bundle is not as it must be, or an id is there
        with other contents.
        """
        place = self._storage.place(payload.url)

        read: list[Imported] = []

        async def effect(session: AsyncSession) -> Imported:
            checked = await self._check(place, tell)
            imported = await self._insert(session, place, checked, tell, activate=payload.activate)
            read.append(imported)
            return imported

        imported = await once(self._database, payload, effect)
        if read:  # by this delivery
            announcing.imported(imported)
        return imported

    async def _write(
        self, session: AsyncSession, payload: ExportPrograms, place: Place, tell: Tell
    ) -> Exported:
        writer = Writer(BUNDLE, self._storage, place, str(payload.id))
        copy = partial(_copy, session, payload, writer, tell)
        count, size, sha256 = await write_whole(writer, copy)
        return Exported(url=place.url, count=count, size_bytes=size, sha256=sha256)

    async def _check(self, place: Place, tell: Tell) -> _Checked:
        """Read the whole bundle once."""
        count = 0
        with contextlib.closing(read_lines(BUNDLE, self._storage, place)) as lines:
            decoder = Decoder(lines)
            async for batch in _batches(decoder):
                count += len(batch)
                tell(Progress(step="checking", done=count))
        return _Checked(decoder.sha256, count)

    async def _insert(
        self, session: AsyncSession, place: Place, checked: _Checked, tell: Tell, *, activate: bool
    ) -> Imported:
        ids: list[UUID] = []
        new = 0
        with contextlib.closing(read_lines(BUNDLE, self._storage, place)) as lines:
            decoder = Decoder(lines)
            async for batch in _batches(decoder):
                new += await insert_entries(session, batch)
                ids.extend(entry.program_id for entry in batch)
                if activate:
                    await pointer.move(session, _targets(batch), reason="imported")
                tell(Progress(step="importing", done=len(ids), total=checked.entries))
        if decoder.sha256 != checked.sha256:
            raise Refused("the bundle changed while it was read; import it again")
        return Imported(imported=new, unchanged=len(ids) - new, program_ids=tuple(ids))


async def _copy(session: AsyncSession, payload: ExportPrograms, writer: Writer, tell: Tell) -> int:
    """Write header, entries and trailer; return the number of the entries."""
    encoder = Encoder()
    count: int | None = None
    written = 0
    query = selection.selected(payload).execution_options(yield_per=ROWS_AT_ONCE)
    rows = await session.stream(query)
    async for page in rows.partitions():
        if count is None:
            count = page[0][2]
            await selection.check_all_there(session, payload, count)
            await in_thread(writer.write, [encoder.header(count)])
        entries = [Entry.of(version, active=active) for version, active, _ in page]
        await in_thread(writer.write, map(encoder.entry, entries))
        written += len(entries)
        tell(Progress(step="exporting", done=written, total=count))
    if count is None:
        await selection.check_all_there(session, payload, 0)
        await in_thread(writer.write, [encoder.header(0)])
    await in_thread(writer.write, [encoder.trailer()])
    return count or 0


async def _batches(decoder: Decoder) -> AsyncIterator[list[Entry]]:
    entries = iter(decoder)
    while batch := await in_thread(_take, decoder, entries):
        yield batch


def _take(decoder: Decoder, entries: Iterator[Entry]) -> list[Entry]:
    batch = []
    enough = decoder.read_bytes + BYTES_AT_ONCE
    for entry in islice(entries, ENTRIES_AT_ONCE):
        batch.append(entry)
        if decoder.read_bytes >= enough:
            break
    return batch


def _targets(batch: list[Entry]) -> list[pointer.Target]:
    return [(each.user_id, each.program, each.program_id) for each in batch if each.active]
