"""Importing records: checked as a whole, then written page by page, each in a transaction.

Between slices of some seconds the job goes back to the end of its queue, so that no other user's
store waits for a whole import.
"""

from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from time import monotonic

from bespoke_schemas.jobs import Progress
from bespoke_schemas.memories import Import, Imported
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Refused
from bespoke_workers.memories import import_progress
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.import_page import ImportPages
from bespoke_workers.memories.import_progress import ImportProgress
from bespoke_workers.memories.loading import Loader
from bespoke_workers.memories.record_source import RecordSource
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.observe import events
from bespoke_workers.outbox import Tell
from bespoke_workers.storage.places import Storage

SLICE_SECONDS = 2.0
"""For which an import goes on before others of its queue have their turn."""


class Importing:
    """Imports records for any user."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        embedder: Embedder,
        default: Defaults,
        storage: Storage,
        clock: Callable[[], datetime],
        safeguard: Safeguard,
    ) -> None:
        self._database = database
        self._storage = storage
        self._pages = ImportPages(database, loader, embedder, default, clock, safeguard)

    async def import_(self, payload: Import, tell: Tell) -> Imported | None:
        """Import for a slice of time; None if there is more to do, by the same payload.

        Once per job id. Raises Refused, naming the line and the reason, if any record is not as
        it must be, in which case nothing is imported; OtherEmbedder if the user's memories are
        of another embedder; Cancelled if the job was cancelled, after whole pages.
        """
        try:
            return await self._slice(payload, tell)
        except Refused as refused:
            await import_progress.refuse(self._database, payload, str(refused))
            raise

    async def _slice(self, payload: Import, tell: Tell) -> Imported | None:
        source = RecordSource(self._storage, payload)
        progress = await self._begun(payload, source)
        if isinstance(progress, Imported):
            return progress
        deadline = monotonic() + SLICE_SECONDS
        async with aclosing(source.pages(progress.done)) as pages:
            async for records in pages:
                if not records and progress.total:
                    raise Refused("the record file changed while it was read; import it again")
                reached = await self._pages.write(payload, progress, records)
                if isinstance(reached, Imported):
                    _emit(payload.user_id, reached)
                    return reached
                tell(Progress(step="importing", done=reached.done, total=reached.total))
                is_alone = reached.done == progress.done + len(records)
                progress = reached
                if not is_alone or monotonic() > deadline:
                    break
        return None

    async def _begun(self, payload: Import, source: RecordSource) -> ImportProgress | Imported:
        """Return how far the import is; one that begins is checked as a whole first."""
        found = await import_progress.find(self._database, payload)
        if found is None:
            return await import_progress.begin(self._database, payload, await source.checked())
        if isinstance(found, ImportProgress):
            found.check(await source.fingerprint())
        return found


def _emit(user_id: str, imported: Imported) -> None:
    events.emit(
        "dspy.memory.import",
        user_id=user_id,
        imported_count=imported.imported_count,
        merged_count=imported.merged_count,
        present_count=imported.present_count,
        archived_count=imported.archived_count,
        after_count=imported.count,
    )
