"""One page of an import: its records and how far the import is, in one commit.

So whoever takes an import up after a kill goes on with the page that was not committed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.memories import Import, Imported, Record
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import arriving, import_progress, statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.arriving import Arrivals
from bespoke_workers.memories.compactor import Compacted, compact
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.import_progress import ImportProgress
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.locking import make_and_lock
from bespoke_workers.memories.newcomers import Newcomer
from bespoke_workers.memories.record_statements import KNOWN
from bespoke_workers.memories.records import memory_id, newcomer_of, second_id
from bespoke_workers.memories.removal import recounted
from bespoke_workers.memories.safeguard import Safeguard

REMOVED_BY_RULE = ["duplicate", "deduplication", "size", "age", "relevance"]
"""Reasons in the archive for which a record stays there: the same rule would remove it again."""

Known = Mapping[UUID, bool]
"""Ids that the user has, or had until a rule removed them: True for those that are present."""


@dataclass
class Page:
    """Records on their way in: those that are new, how many were read, and what was written.

    ``compacted`` is the space as the page left it; None if it changed nothing.
    """

    new: Arrivals
    known: Known
    read: int
    repeated: int
    merged: int = 0
    gone: tuple[UUID, ...] = ()
    compacted: Compacted | None = None

    def leave_out(self, known: Known) -> None:
        """Leave out what has become known since the page was embedded."""
        self.known = {**self.known, **known}
        self.new = self.new.only([one.candidate.id not in known for one in self.new.newcomers])

    def after(self, progress: ImportProgress) -> ImportProgress:
        """Return how far the import is after this page."""
        present = sum(self.known.values())
        return progress.model_copy(
            update={
                "done": progress.done + self.read,
                "imported": progress.imported + len(self.new.newcomers),
                "merged": progress.merged + self.merged,
                "present": progress.present + present + self.repeated,
                "archived": progress.archived + len(self.known) - present,
            }
        )


class ImportPages:
    """Writes pages of records for any user."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        embedder: Embedder,
        default: Defaults,
        clock: Callable[[], datetime],
        safeguard: Safeguard,
    ) -> None:
        self._safeguard = safeguard
        self._database = database
        self._loader = loader
        self._embedder = embedder
        self._default = default
        self._clock = clock

    async def write(
        self, payload: Import, progress: ImportProgress, records: Sequence[Record]
    ) -> ImportProgress | Imported:
        """Write the records that come after ``progress``, the last ones with the result.

        Returns how far the import is then: if another delivery was here before, how far that is.
        """
        page = await self._page(payload, records)
        async with self._loader.turn(payload.user_id):
            async with self._database.transaction() as session:
                reached = await self._write(session, payload, progress, page)
            if page.compacted is not None:
                self._loader.follow(
                    payload.user_id,
                    page.compacted.space,
                    removed=(*page.gone, *page.compacted.removed),
                    added=page.new.by_id({*page.gone, *page.compacted.removed}),
                )
        if page.compacted is not None and isinstance(reached, Imported):
            page.compacted.tell(payload.user_id)
        return reached

    async def _page(self, payload: Import, records: Sequence[Record]) -> Page:
        """Embed those records that the user neither has nor had."""
        now = self._clock()
        wanted: dict[UUID, Newcomer] = {}
        for record in records:
            own_id = memory_id(record, payload.user_id, rename_user=payload.rename_user)
            wanted.setdefault(own_id, newcomer_of(record, own_id, now))
        async with self._database.autocommit() as connection:
            known = await _known(connection, payload.user_id, wanted)
        new = [one for own_id, one in wanted.items() if own_id not in known]
        vectors = self._embedder.embed([one.content for one in new])
        return Page(Arrivals(new, vectors, now), known, len(records), len(records) - len(wanted))

    async def _write(
        self, session: AsyncSession, payload: Import, progress: ImportProgress, page: Page
    ) -> ImportProgress | Imported:
        connection, user_id = await session.connection(), payload.user_id
        await make_and_lock(connection, user_id, self._embedder, payload.id)
        held = await import_progress.hold(session, payload)
        if held != progress:
            return held
        loaded = await self._loader.load_locked(connection, user_id)
        ids = [*page.known, *(one.candidate.id for one in page.new.newcomers)]
        page.leave_out(await _known(connection, user_id, ids))
        archive = Archive(
            connection,
            user_id=user_id,
            run_id=payload.id,
            version=loaded.space.next_version().version,
            now=page.new.at,
        )
        await self._arrive(connection, archive, loaded, page)
        reached = page.after(progress)
        is_last = reached.done >= reached.total
        outcome = (
            await self._end(connection, payload, archive, loaded, page, reached)
            if is_last
            else reached
        )
        await import_progress.write(session, payload, outcome)
        return outcome

    async def _arrive(
        self, connection: AsyncConnection, archive: Archive, loaded: Loaded, page: Page
    ) -> None:
        """Insert what is new, merge duplicates, and count the space anew."""
        if not page.new.newcomers:
            return
        user_id, version = archive.user_id, loaded.space.next_version().version
        free = await arriving.insert(connection, user_id, version, page.new)
        taken = [one.candidate.id not in free for one in page.new.newcomers]
        if any(taken):
            # Whoever has them is not told, and not touched.
            page.new = page.new.renamed(taken, lambda own_id: second_id(own_id, user_id))
            await arriving.insert(connection, user_id, version, page.new.only(taken))
        threshold = loaded.space.policy.threshold(self._embedder.threshold)
        verdicts = await arriving.weigh(connection, loaded, archive, threshold, page.new)
        await arriving.settle(connection, archive, verdicts, page.new.at)
        page.gone = tuple(verdicts.replaced)
        page.merged = sum(bool(merged.gone) for merged in verdicts.merges)
        page.compacted = Compacted(await recounted(connection, user_id, version, self._default))

    async def _end(
        self,
        connection: AsyncConnection,
        payload: Import,
        archive: Archive,
        loaded: Loaded,
        page: Page,
        reached: ImportProgress,
    ) -> Imported:
        """Compact the space, if anything was imported, and return the result."""
        if reached.imported:
            before = loaded.space.next_version() if page.compacted is None else page.compacted.space
            page.compacted = await compact(
                connection,
                archive,
                before,
                page.new.at,
                loaded.index,
                self._safeguard,
                unindexed=page.new.by_id(page.gone),
            )
        after = page.compacted or Compacted(loaded.space)
        imported = Imported(
            imported_count=reached.imported,
            merged_count=reached.merged,
            present_count=reached.present,
            archived_count=reached.archived,
            count=after.space.count,
            compaction=after.report,
        )
        if page.compacted is not None:
            finished = {
                "id": payload.id,
                "user_id": payload.user_id,
                "result": imported.model_dump_json(),
            }
            await connection.execute(statements.FINISH, after.space.counters() | finished)
        return imported


async def _known(connection: AsyncConnection, user_id: str, ids: Iterable[UUID]) -> Known:
    """Find the ids of records that the user has or had, under these ids or their second ones."""
    seconds = {own_id: second_id(own_id, user_id) for own_id in ids}
    parameters = {
        "user_id": user_id,
        "ids": [*seconds, *seconds.values()],
        "reasons": REMOVED_BY_RULE,
    }
    found: dict[UUID, bool] = {}
    for row in await connection.execute(KNOWN, parameters):
        found[row.id] = found.get(row.id, False) or row.is_present
    return {
        own_id: found.get(own_id, False) or found.get(second, False)
        for own_id, second in seconds.items()
        if own_id in found or second in found
    }
