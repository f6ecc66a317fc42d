"""The memories of every user, as the tasks see them."""

from collections.abc import Callable
from datetime import UTC, datetime

from bespoke_schemas import memories
from bespoke_workers.database.engine import Database
from bespoke_workers.memories.embedding import Embedder, load_embedder
from bespoke_workers.memories.index import IndexCache
from bespoke_workers.memories.loading import Loader
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.reading import Reading
from bespoke_workers.memories.storing import Storing
from bespoke_workers.settings import Settings


def _now() -> datetime:
    return datetime.now(UTC)


class Memories:
    """Stores, searches, lists and counts memories. ``indexes`` is a cache: it may be emptied.

    ``policy`` holds for users who have none of their own; ``clock`` tells the time in UTC.
    """

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        policy: Policy,
        indexes: IndexCache,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.indexes = indexes
        loader = Loader(indexes, embedder, policy)
        self._storing = Storing(database, loader, embedder, clock)
        self._reading = Reading(database, loader, embedder, clock)

    @classmethod
    def from_settings(cls, database: Database, settings: Settings) -> "Memories":
        """Make the memories that the settings describe; raises Misconfigured where they cannot."""
        policy = Policy(
            max_memories=settings.max_memories,
            max_age_days=settings.max_age_days,
            low_access_threshold=settings.low_access_threshold,
            dedup_guard=settings.dedup_guard,
        )
        return cls(
            database,
            load_embedder(settings.embedder, settings.similarity_threshold),
            policy,
            IndexCache(settings.index_cache_mib * 2**20),
        )

    async def store(self, payload: memories.Store) -> memories.Stored:
        """Remember one thing that a user said, or merge it with its duplicate; then compact.

        Takes effect once per job id. Raises Refused if the id belongs to another job.
        """
        return await self._storing.store(payload)

    async def search(self, payload: memories.Search) -> memories.Found:
        """Find a user's memories by meaning, and count the access of each one found."""
        return await self._reading.search(payload)

    async def list(self, payload: memories.List) -> memories.Listed:
        """Return a page of a user's memories, newest first."""
        return await self._reading.list(payload)

    async def count(self, payload: memories.Count) -> memories.Counted:
        """Return how many memories a user has."""
        return await self._reading.count(payload.user_id)
