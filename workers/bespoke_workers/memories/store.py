"""The memories of every user, as the tasks see them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from bespoke_schemas import memories
from bespoke_workers.database.engine import Database
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.deferral import Deferral
from bespoke_workers.memories.embedders import Embedders, load_older
from bespoke_workers.memories.embedding import Embedder, load_embedder
from bespoke_workers.memories.exporting import Exporting
from bespoke_workers.memories.fitting import Fitting
from bespoke_workers.memories.history import History
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.loading import Loader, read_kind
from bespoke_workers.memories.policies import Policies
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.reembedding import Reembedding
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.memories.services import Services
from bespoke_workers.memories.sharing import Sharing
from bespoke_workers.memories.sweeping import whose
from bespoke_workers.memories.target import Target
from bespoke_workers.outbox import Outbox, Tell, to_nobody
from bespoke_workers.settings import Settings
from bespoke_workers.storage.places import Storage

LEASE = timedelta(minutes=1)


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


class Memories:
    """Stores, searches, lists and counts memories. ``indexes`` is a cache: it may be emptied.

    ``policy`` holds for users who have none of their own; ``clock`` tells the time in UTC.
    ``storage`` is where exports lie; without one, in this process.
    """

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        policy: Policy | Defaults,
        indexes: IndexCache,
        clock: Callable[[], datetime] = utc_now,
        *,
        load_older: Callable[[str], Embedder] = load_older,
        storage: Storage | None = None,
        outbox: Outbox | None = None,
        lease: timedelta = LEASE,
        running_s: Callable[[], float] = time.monotonic,
        export_before_share: float | None = None,
    ) -> None:
        """``load_older`` loads the embedder of a space that is not of ``embedder``, by its name.

        Such spaces are embedded anew if there is an ``outbox``: the embedder of the worker that
        has run the shortest, in seconds ``running_s``, is that of all in the end. Nor does a
        compaction wait without one, whatever a policy says. A compaction that removes more of a
        space than ``export_before_share``, from 0 to 1, exports it first.
        """
        self.indexes = indexes
        self.embedder = embedder
        storage = storage or Storage("memory://")
        default = policy if isinstance(policy, Defaults) else Defaults(policy)
        embedders = Embedders(embedder, load_older)
        safeguard = Safeguard(storage, export_before_share)

        def make(loader: Loader, embedder: Embedder) -> Services:
            return Services(
                database, loader, embedder, default, storage, clock, Deferral(outbox), safeguard
            )

        self._reembedding = None
        if outbox is not None:
            target = Target(database, embedder.kind, running_s)
            self._reembedding = Reembedding(database, embedders, target, outbox, lease)
        self._fitting = Fitting(
            embedders,
            Loader(indexes, embedder, default),
            make,
            partial(read_kind, database),
            self._want,
        )
        self._sharing = Sharing(database)
        self._policies = Policies(database, embedder, default)
        self._history = History(database)
        self._exporting = Exporting(database, storage)

    @classmethod
    def from_settings(
        cls,
        database: Database,
        settings: Settings,
        *,
        outbox: Outbox | None = None,
        running_s: Callable[[], float] = time.monotonic,
    ) -> "Memories":
        """Make the memories that the settings describe; raises Misconfigured where they cannot."""
        return cls(
            database,
            load_embedder(settings.embedder, settings.similarity_threshold),
            Defaults.from_settings(settings),
            IndexCache(settings.index_cache_mib * 2**20),
            load_older=partial(load_older, at_least=settings.similarity_threshold),
            storage=Storage(settings.storage),
            outbox=outbox,
            lease=settings.lease,
            running_s=running_s,
            export_before_share=settings.export_before_share,
        )

    async def reembed(self) -> None:
        """Embed anew, for some seconds, what is of another embedder than the one to be."""
        if self._reembedding is not None:
            await self._reembedding.work()

    async def _want(self, user_id: str) -> None:
        if self._reembedding is not None:
            await self._reembedding.want(user_id)

    async def store(self, payload: memories.Store) -> memories.Stored:
        """Remember one thing that a user said, or merge it with its duplicate; then compact.

        Takes effect once per job id. Raises Refused if the id belongs to another job.
        """
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(payload.user_id, lambda of: of.storing.store(payload))

    async def store_many(self, payload: memories.StoreMany) -> memories.StoredMany:
        """Remember many things, merging duplicates, all in one transaction; then compact once.

        Takes effect once per job id. Raises Refused if the id belongs to another job.
        """
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(payload.user_id, lambda of: of.storing_many.store(payload))

    async def export(self, payload: memories.Export, tell: Tell = to_nobody) -> memories.Exported:
        """Write a user's memories to a file of records; once per job id.

        ``tell`` is called with how far it is after each page.
        """
        payload = await self._sharing.addressed(payload)
        return await self._exporting.export(payload, tell)

    async def import_(
        self, payload: memories.Import, tell: Tell = to_nobody
    ) -> memories.Imported | None:
        """Bring records in, for a slice of time; None if the same payload has more to do.

        Takes effect once per job id. ``tell`` is called with how far it is after each page.
        """
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(
            payload.user_id, lambda of: of.importing.import_(payload, tell)
        )

    async def search(self, payload: memories.Search) -> memories.Found:
        """Find a user's memories by meaning, and count the access of each one found."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(payload.user_id, lambda of: of.reading.search(payload))

    async def list(self, payload: memories.List) -> memories.Listed:
        """Return a page of a user's memories, newest first."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.current.reading.list(payload)

    async def count(self, payload: memories.Count) -> memories.Counted:
        """Return how many memories a user has."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.current.reading.count(payload.user_id)

    async def get(self, payload: memories.Get) -> memories.Got:
        """Return one memory of a user, or None."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.current.inspecting.get(payload)

    async def stats(self, payload: memories.Stats) -> memories.SpaceStats:
        """Return what a user's space holds, in numbers."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.current.inspecting.stats(payload.user_id)

    async def find_similar(self, payload: memories.FindSimilar) -> memories.Found:
        """Find what is similar to a user's memory, or to a text; no access is counted."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(
            payload.user_id, lambda of: of.inspecting.find_similar(payload)
        )

    async def set_policy(self, payload: memories.SetPolicy) -> memories.PolicyInForce:
        """Change a user's policy; takes effect once per job id, from the next store on.

        Raises Refused, naming what was got and what is allowed.
        """
        payload = await self._sharing.addressed(payload)
        return await self._policies.set(payload)

    async def get_policy(self, payload: memories.GetPolicy) -> memories.PolicyInForce:
        """Return the policy in force for a user."""
        payload = await self._sharing.addressed(payload)
        return await self._policies.get(payload)

    async def delete(self, payload: memories.Delete) -> memories.Deleted:
        """Move one memory of a user to the archive."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(payload.user_id, lambda of: of.removal.delete(payload))

    async def clear(self, payload: memories.Clear) -> memories.Cleared:
        """Move a user's memories to the archive: all, or those of a kind and with some tags."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(payload.user_id, lambda of: of.removal.clear(payload))

    async def compact(self, payload: memories.Compact) -> memories.Compaction:
        """Compact one user's memories, as triggers say or by force; once per job id.

        A dry run tells what would go. Raises Refused if the preset to be tried is unknown.
        """
        payload = await self._sharing.addressed(payload)
        if payload.dry_run:
            return await self._fitting.do(whose(payload), lambda of: of.rehearsing.compact(payload))
        return await self._fitting.do(whose(payload), lambda of: of.sweeping.compact(payload))

    async def list_compactions(self, payload: memories.ListCompactions) -> memories.Compactions:
        """Return a page of the compactions of a user's memories, newest first."""
        payload = await self._sharing.addressed(payload)
        return await self._history.compactions(payload)

    async def list_archived(self, payload: memories.ListArchived) -> memories.ArchivedListed:
        """Return a page of a user's archive, what went last first."""
        payload = await self._sharing.addressed(payload)
        return await self._history.archived(payload)

    async def restore(self, payload: memories.Restore) -> memories.Restored:
        """Bring memories back from the archive, within the user's policy; once per job id."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(payload.user_id, lambda of: of.restoring.restore(payload))

    async def update(self, payload: memories.Update) -> memories.Updated:
        """Change a memory of a user, or merge it with what its new content duplicates."""
        payload = await self._sharing.addressed(payload)
        return await self._fitting.do(payload.user_id, lambda of: of.updating.update(payload))

    async def join(self, payload: memories.Join) -> memories.Members:
        """Let a user share a space; once per job id."""
        return await self._sharing.join(payload)

    async def leave(self, payload: memories.Leave) -> memories.Members:
        """Let a user no longer share a space; once per job id."""
        return await self._sharing.leave(payload)

    async def list_members(self, payload: memories.ListMembers) -> memories.Members:
        """Return who shares a space."""
        return await self._sharing.members(payload)
