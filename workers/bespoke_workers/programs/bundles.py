"""Export and import of versions: streamed in both directions, whole or not at all."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.exports import Exported, ExportPrograms, Imported, ImportPrograms
from bespoke_schemas.jobs import Progress
from bespoke_workers.database.engine import Database
from bespoke_workers.database.file_locks import hold_file
from bespoke_workers.database.once import once
from bespoke_workers.errors import Refused
from bespoke_workers.outbox import Tell, to_nobody
from bespoke_workers.programs import announcing, selection
from bespoke_workers.programs.bundle_decoding import Decoder
from bespoke_workers.programs.bundle_encoding import Encoder
from bespoke_workers.programs.bundle_format import LINE_LIMIT, Entry, job_of
from bespoke_workers.programs.imported import Uses, insert_entries
from bespoke_workers.programs.renaming import Renaming
from bespoke_workers.settings import Settings
from bespoke_workers.storage.files import Kind, Writer, exists, read_lines
from bespoke_workers.storage.offload import in_thread, write_whole
from bespoke_workers.storage.places import Place, Storage

BUNDLE = Kind("bundle", LINE_LIMIT, 2**30, "export fewer programs at a time")
"""What a job of ten minutes can write, or read twice, at four MiB a second."""
ROWS_AT_ONCE = 25
"""Rows in memory during an export; a state may have eight million characters."""
ENTRIES_AT_ONCE = 200
BYTES_AT_ONCE = 4 * 2**20
"""An import takes entries until it has one of these."""


class Bundles:
    """Writes versions to bundles in the storage and reads them back."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._storage = Storage(settings.storage)

    async def export(self, payload: ExportPrograms, tell: Tell = to_nobody) -> Exported:
        """Write the selected versions to a bundle, which has its name only when it is whole.

        ``tell`` hears how many of them are written. Raises Refused for a name outside the
        storage or taken, or ids that are not there.
        """
        default = f"programs-{payload.id}.jsonl.gz"
        place = self._storage.place(default if payload.name is None else payload.name)
        started = time.monotonic()
        written: list[Exported] = []

        async def effect(session: AsyncSession) -> Exported:
            written.append(await self._write(session, payload, place, tell))
            return written[-1]

        exported = await once(self._database, payload, effect)
        if written:  # by this delivery
            announcing.exported(payload.user_id, exported, time.monotonic() - started)
        return exported

    async def import_(self, payload: ImportPrograms, tell: Tell = to_nobody) -> Imported:
        """Insert a bundle's versions, all or none; those that are there already are left alone.

        ``tell`` hears how many are checked, then how many are there. Raises Refused, naming the
        line and the reason, if anything in the bundle is not as it must be, or an id is there
        with other contents.
        """
        place = self._storage.place(payload.url)
        started = time.monotonic()
        read: list[Imported] = []

        async def effect(session: AsyncSession) -> Imported:
            checksum = await self._check(place, payload, tell)
            imported = await self._insert(session, place, checksum, payload, tell)
            read.append(imported)
            return imported

        imported = await once(self._database, payload, effect)
        if read and not payload.dry_run:  # by this delivery
            announcing.imported(imported, time.monotonic() - started)
        return imported

    async def _write(
        self, session: AsyncSession, payload: ExportPrograms, place: Place, tell: Tell
    ) -> Exported:
        async def copy() -> int:
            count = await _copy(session, payload, writer, tell)
            await hold_file(await session.connection(), place.path)
            await self._check_free(payload, place)
            return count

        await self._check_free(payload, place)
        writer = Writer(BUNDLE, self._storage, place, str(payload.id))
        count, size, sha256 = await write_whole(writer, copy)
        return Exported(url=place.url, count=count, size_bytes=size, sha256=sha256)

    async def _check_free(self, payload: ExportPrograms, place: Place) -> None:
        """Raise Refused if a file would be replaced that is not this very job's."""
        if not payload.overwrite and await in_thread(self._is_taken, place, payload.id):
            raise Refused(
                f"there is a file at {place.url!r} already; give another name, or overwrite=True"
            )

    def _is_taken(self, place: Place, job_id: UUID) -> bool:
        if not exists(BUNDLE, self._storage, place):
            return False
        with contextlib.closing(read_lines(BUNDLE, self._storage, place)) as lines:
            try:
                return job_of(next(lines, b"")) != job_id
            except Refused:  # not even a bundle
                return True

    async def _check(self, place: Place, payload: ImportPrograms, tell: Tell) -> str:
        """Read the whole bundle once and return its checksum."""
        done = 0
        with contextlib.closing(read_lines(BUNDLE, self._storage, place)) as lines:
            decoder = _decoder(lines, payload)
            async for batch in _batches(decoder):
                done += len(batch)
                tell(Progress(step="checking", done=done, total=decoder.count))
        return decoder.sha256

    async def _insert(
        self,
        session: AsyncSession,
        place: Place,
        checksum: str,
        payload: ImportPrograms,
        tell: Tell,
    ) -> Imported:
        """Insert what was checked, in a transaction within the job's that a dry run rolls back."""
        ids: list[UUID] = []
        new, uses = 0, Uses()
        within = await session.begin_nested()
        with contextlib.closing(read_lines(BUNDLE, self._storage, place)) as lines:
            decoder = _decoder(lines, payload)
            async for batch in _batches(decoder):
                new += await insert_entries(session, batch)
                ids.extend(entry.program_id for entry in batch)
                if payload.activate:
                    await uses.begin(session, batch)
                tell(Progress(step="importing", done=len(ids), total=decoder.count))
        if decoder.sha256 != checksum:
            raise Refused("the bundle changed while it was read; import it again")
        await (within.rollback() if payload.dry_run else within.commit())
        return Imported(
            imported=new,
            unchanged=len(ids) - new,
            program_ids=tuple(ids),
            activated=uses.count,
            dry_run=payload.dry_run,
        )


async def _copy(session: AsyncSession, payload: ExportPrograms, writer: Writer, tell: Tell) -> int:
    """Write header, entries and trailer; return the number of the entries."""
    encoder = Encoder(payload.id)
    count: int | None = None
    written = 0
    query = selection.selected(payload).execution_options(yield_per=ROWS_AT_ONCE)
    rows = await session.stream(query)
    async for page in rows.partitions():
        if count is None:
            count = page[0][3]
            await selection.check_all_there(session, payload, count)
            await in_thread(writer.write, [encoder.header(count)])
        entries = [Entry.of(row, active=active, used_by=users) for row, active, users, _ in page]
        await in_thread(writer.write, map(encoder.entry, entries))
        written += len(entries)
        tell(Progress(step="exporting", done=written, total=count))
    if count is None:
        await selection.check_all_there(session, payload, 0)
        await in_thread(writer.write, [encoder.header(0)])
    await in_thread(writer.write, [encoder.trailer()])
    return count or 0


def _decoder(lines: Iterator[bytes], payload: ImportPrograms) -> Decoder:
    return Decoder(lines, Renaming(payload.users, payload.only_mapped))


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
