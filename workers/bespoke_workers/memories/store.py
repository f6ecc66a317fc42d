"""The memories of every user, as the tasks see them."""

from collections.abc import Callable
from datetime import UTC, datetime

from bespoke_schemas import memories
from bespoke_workers.database.engine import Database
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder, load_embedder
from bespoke_workers.memories.history import History
from bespoke_workers.memories.index import IndexCache
from bespoke_workers.memories.inspecting import Inspecting
from bespoke_workers.memories.loading import Loader
from bespoke_workers.memories.policies import Policies
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.reading import Reading
from bespoke_workers.memories.removal import Removal
from bespoke_workers.memories.restoring import Restoring
from bespoke_workers.memories.storing import Storing
from bespoke_workers.memories.storing_many import StoringMany
from bespoke_workers.memories.sweeping import Sweeping
from bespoke_workers.memories.updating import Updating
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
        policy: Policy | Defaults,
        indexes: IndexCache,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.indexes = indexes
        default = policy if isinstance(policy, Defaults) else Defaults(policy)
        loader = Loader(indexes, embedder, default)
        self._policies = Policies(database, embedder, default)
        self._sweeping = Sweeping(database, loader, embedder, clock)
        self._history = History(database)
        self._restoring = Restoring(database, loader, embedder, default, clock)
        self._storing = Storing(database, loader, embedder, clock)
        self._storing_many = StoringMany(database, loader, embedder, clock)
        self._reading = Reading(database, loader, embedder, clock)
        self._inspecting = Inspecting(database, loader, embedder)
        self._removal = Removal(database, loader, default, clock)
        self._updating = Updating(database, loader, embedder, default, clock)

    @classmethod
    def from_settings(cls, database: Database, settings: Settings) -> "Memories":
        """Make the memories that the settings describe; raises Misconfigured where they cannot."""
        return cls(
            database,
            load_embedder(settings.embedder, settings.similarity_threshold),
            Defaults.from_settings(settings),
            IndexCache(settings.index_cache_mib * 2**20),
        )

    async def store(self, payload: memories.Store) -> memories.Stored:
        """Remember one thing that a user said, or merge it with its duplicate; then compact.

        Takes effect once per job id. Raises Refused if the id belongs to another job.
        """
        return await self._storing.store(payload)

    async def store_many(self, payload: memories.StoreMany) -> memories.StoredMany:
        """Remember many things, merging duplicates, all in one transaction; then compact once.

        Takes effect once per job id. Raises Refused if the id belongs to another job.
        """
        return await self._storing_many.store(payload)

    async def search(self, payload: memories.Search) -> memories.Found:
        """Find a user's memories by meaning, and count the access of each one found."""
        return await self._reading.search(payload)

    async def list(self, payload: memories.List) -> memories.Listed:
        """Return a page of a user's memories, newest first."""
        return await self._reading.list(payload)

    async def count(self, payload: memories.Count) -> memories.Counted:
        """Return how many memories a user has."""
        return await self._reading.count(payload.user_id)

    async def get(self, payload: memories.Get) -> memories.Got:
        """Return one memory of a user, or None."""
        return await self._inspecting.get(payload)

    async def stats(self, payload: memories.Stats) -> memories.SpaceStats:
        """Return what a user's space holds, in numbers."""
        return await self._inspecting.stats(payload.user_id)

    async def find_similar(self, payload: memories.FindSimilar) -> memories.Found:
        """Find what is similar to a user's memory, or to a text; no access is counted."""
        return await self._inspecting.find_similar(payload)

    async def set_policy(self, payload: memories.SetPolicy) -> memories.PolicyInForce:
        """Change a user's policy; takes effect once per job id, from the next store on.

        Raises Refused, naming what was got and what is allowed.
        """
        return await self._policies.set(payload)

    async def get_policy(self, payload: memories.GetPolicy) -> memories.PolicyInForce:
        """Return the policy in force for a user."""
        return await self._policies.get(payload)

    async def delete(self, payload: memories.Delete) -> memories.Deleted:
        """Move one memory of a user to the archive."""
        return await self._removal.delete(payload)

    async def clear(self, payload: memories.Clear) -> memories.Cleared:
        """Move a user's memories to the archive: all, or those of a kind and with some tags."""
        return await self._removal.clear(payload)

    async def compact(self, payload: memories.Compact) -> memories.Compaction:
        """Compact a user's memories, as triggers say or by force; once per job id."""
        return await self._sweeping.compact(payload)

    async def list_compactions(self, payload: memories.ListCompactions) -> memories.Compactions:
        """Return a page of the compactions of a user's memories, newest first."""
        return await self._history.compactions(payload)

    async def list_archived(self, payload: memories.ListArchived) -> memories.ArchivedListed:
        """Return a page of a user's archive, what went last first."""
        return await self._history.archived(payload)

    async def restore(self, payload: memories.Restore) -> memories.Restored:
        """Bring memories back from the archive, within the user's policy; once per job id."""
        return await self._restoring.restore(payload)

    async def update(self, payload: memories.Update) -> memories.Updated:
        """Change a memory of a user, or merge it with what its new content duplicates."""
        return await self._updating.update(payload)
