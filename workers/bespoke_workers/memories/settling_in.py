"""Memories that come into a space which had none, all in the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import Record
from bespoke_workers.memories import arriving, statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.arriving import Arrivals
from bespoke_workers.memories.compactor import Compacted, compact
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.newcomers import Newcomer
from bespoke_workers.memories.records import memory_id, newcomer_of, second_id
from bespoke_workers.memories.removal import recounted
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.storage.places import Storage

INDEX_BYTES = 2**30
"""Of one import's index, which is gone with its transaction: other jobs must not see it."""


class SettlingIn:
    """Brings one user's memories in, page by page, and compacts their space once at the end."""

    def __init__(
        self,
        connection: AsyncConnection,
        embedder: Embedder,
        default: Defaults,
        *,
        user_id: str,
        job_id: UUID,
        now: datetime,
        rename: bool,
    ) -> None:
        """The user's space is there, of this embedder, and locked by the transaction.

        With ``rename`` the records are another user's, and come under new ids.
        """
        self._connection = connection
        self._embedder = embedder
        self._default = default
        self._user_id = user_id
        self._job_id = job_id
        self._now = now
        self._rename = rename
        self._loader = Loader(IndexCache(INDEX_BYTES), embedder, default)

    async def take(self, records: Sequence[Record]) -> None:
        """Insert a page of records, and merge those that are duplicates."""
        new = self._arrivals(records)
        loaded = await self._loaded()
        archive = self._archive(loaded)
        version = next_version(loaded)
        free = await arriving.insert(self._connection, self._user_id, version, new)
        taken = [one.candidate.id not in free for one in new.newcomers]
        if any(taken):
            # Whoever has them is not told, and not touched.
            new = new.renamed(taken, lambda own_id: second_id(own_id, self._user_id))
            await arriving.insert(self._connection, self._user_id, version, new.only(taken))
        threshold = loaded.space.policy.threshold(self._embedder.threshold)
        verdicts = await arriving.weigh(self._connection, loaded, archive, threshold, new)
        await arriving.settle(self._connection, archive, verdicts, self._now)
        await recounted(self._connection, self._user_id, version, self._default)

    async def end(self) -> int:
        """Compact the space as its policy says, and return how many memories are left."""
        loaded = await self._loaded()
        compacted: Compacted = await compact(
            self._connection,
            self._archive(loaded),
            loaded.space.next_version(),
            self._now,
            loaded.index,
            Safeguard(Storage("memory://")),
        )
        finished = {"id": self._job_id, "user_id": self._user_id, "result": "null"}
        await self._connection.execute(statements.FINISH, compacted.space.counters() | finished)
        return compacted.space.count

    def _arrivals(self, records: Sequence[Record]) -> Arrivals:
        wanted: dict[UUID, Newcomer] = {}
        for record in records:
            own_id = memory_id(record, self._user_id, rename_user=self._rename)
            wanted.setdefault(own_id, newcomer_of(record, own_id, self._now))
        newcomers = list(wanted.values())
        vectors = self._embedder.embed([one.content for one in newcomers])
        return Arrivals(newcomers, vectors, self._now)

    def _archive(self, loaded: Loaded) -> Archive:
        return Archive(
            self._connection,
            user_id=self._user_id,
            run_id=self._job_id,
            version=next_version(loaded),
            now=self._now,
        )

    async def _loaded(self) -> Loaded:
        loaded = await self._loader.load(self._connection, self._user_id)
        assert loaded is not None, "the caller has made the space"
        return loaded


def next_version(loaded: Loaded) -> int:
    """Return the version that the next change of a space takes."""
    return loaded.space.next_version().version
