"""The memories of every user, kept in this process alone."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bespoke_schemas import Payload, Result, memories
from bespoke_schemas.payload import ResultT
from bespoke_workers.errors import Refused
from bespoke_workers.memories import newcomers
from bespoke_workers.memories.arriving import Arrivals
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder, load_embedder
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.in_memory import changes, compacting, reads
from bespoke_workers.memories.in_memory.done import Done
from bespoke_workers.memories.in_memory.space import UserSpace
from bespoke_workers.memories.in_memory.storing_many import store_many
from bespoke_workers.memories.policies import changed, in_force
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.sharing import PayloadT, owned
from bespoke_workers.memories.sweeping import whose


def _now() -> datetime:
    return datetime.now(UTC)


class InMemoryStore:
    """A `MemoryStore` without servers, for tests of applications and for trying things.

    It keeps to the same rules as `Memories`, and to the same promises for as long as the process
    lives; then all is gone. May be used from several threads and event loops. ``embedder`` is the
    lexical default unless given; FAISS is loaded at the first call, so fork before.
    """

    def __init__(
        self,
        embedder: Embedder | None = None,
        policy: Policy = DEFAULT,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._embedder = embedder or load_embedder(None)
        self._default = Defaults(policy)
        self._clock = clock
        self._spaces: dict[str, UserSpace] = {}
        self._jobs: dict[UUID, tuple[str, str | None, Result]] = {}
        self._sharing: dict[str, set[str]] = {}
        self._turn = threading.Lock()

    async def store(self, payload: memories.Store) -> memories.Stored:
        """Remember one thing that a user said, or merge it with its duplicate; then compact."""
        payload = self._addressed(payload)
        vector = self._embedder.embed([payload.content])[0]

        def effect() -> Done[memories.Stored]:
            fresh = Fresh.of(payload.model_copy(deep=True), vector, self._clock())
            return changes.store(self._made(payload.user_id), fresh)

        return self._once(payload, effect)

    async def store_many(self, payload: memories.StoreMany) -> memories.StoredMany:
        """Remember many things, all or none, merging duplicates; then compact once."""
        payload = self._addressed(payload)
        vectors = self._embedder.embed([one.content for one in payload.memories])

        def effect() -> Done[memories.StoredMany]:
            now = self._clock()
            new = Arrivals(newcomers.of(payload.id, payload.memories, now), vectors, now)
            return store_many(self._made(payload.user_id), payload, new)

        return self._once(payload, effect)

    async def update(self, payload: memories.Update) -> memories.Updated:
        """Change a memory, or merge it with what its new content duplicates."""
        payload = self._addressed(payload)
        vector = self._vector(payload.content)

        def effect() -> Done[memories.Updated]:
            given = payload.model_copy(deep=True)
            return changes.update(self._seen(payload.user_id), given, vector, self._clock())

        return self._once(payload, effect)

    async def delete(self, payload: memories.Delete) -> memories.Deleted:
        """Move one memory to the archive."""
        payload = self._addressed(payload)

        def effect() -> Done[memories.Deleted]:
            space = self._seen(payload.user_id)
            ids = [payload.memory_id] if payload.memory_id in space.rows else []
            tell = changes.remove(space, ids, "deleted", payload, self._clock())
            return Done(memories.Deleted(deleted=bool(ids)), tell)

        return self._once(payload, effect)

    async def clear(self, payload: memories.Clear) -> memories.Cleared:
        """Move memories to the archive: all, or those of a kind and with some tags."""
        payload = self._addressed(payload)

        def effect() -> Done[memories.Cleared]:
            space = self._seen(payload.user_id)
            ids = [one.id for one in space.selected(payload.tags, payload.kind)]
            tell = changes.remove(space, ids, "cleared", payload, self._clock())
            return Done(memories.Cleared(removed_count=len(ids)), tell)

        return self._once(payload, effect)

    async def compact(self, payload: memories.Compact) -> memories.Compaction:
        """Compact the memories, as triggers say or by force."""
        payload = self._addressed(payload)
        user_id = whose(payload)
        if user_id not in self._spaces:
            return self._once(payload, lambda: Done(memories.Compaction()))
        change = compacting.rehearse if payload.dry_run else compacting.compact
        return self._once(payload, lambda: change(self._seen(user_id), payload, self._clock()))

    async def restore(self, payload: memories.Restore) -> memories.Restored:
        """Bring memories back from the archive, within the policy."""
        payload = self._addressed(payload)
        return self._once(
            payload, lambda: changes.restore(self._seen(payload.user_id), payload, self._clock())
        )

    async def set_policy(self, payload: memories.SetPolicy) -> memories.PolicyInForce:
        """Change a user's policy."""
        payload = self._addressed(payload)

        def effect() -> Done[memories.PolicyInForce]:
            own = changed(self._seen(payload.user_id).own, payload)
            now = in_force(payload.user_id, own, self._default, self._embedder)
            self._made(payload.user_id).follow(own)
            return Done(now)

        return self._once(payload, effect)

    async def get_policy(self, payload: memories.GetPolicy) -> memories.PolicyInForce:
        """Return the policy in force for a user."""
        payload = self._addressed(payload)
        with self._turn:
            own = self._seen(payload.user_id).own
            return in_force(payload.user_id, own, self._default, self._embedder)

    async def search(self, payload: memories.Search) -> memories.Found:
        """Find memories by meaning, and count the access of each one found."""
        payload = self._addressed(payload)
        query = self._embedder.embed([payload.query])[0]
        return self._read(
            payload, partial(reads.search, payload=payload, query=query, now=self._clock())
        )

    async def find_similar(self, payload: memories.FindSimilar) -> memories.Found:
        """Find what is similar to a memory, or to a text; no access is counted."""
        payload = self._addressed(payload)
        vector = self._vector(payload.content)
        return self._read(payload, partial(reads.find_similar, payload=payload, vector=vector))

    async def get(self, payload: memories.Get) -> memories.Got:
        """Return one memory, or None."""
        payload = self._addressed(payload)

        def read(space: UserSpace) -> memories.Got:
            row = space.rows.get(payload.memory_id)
            return memories.Got(memory=None if row is None else row.memory)

        return self._read(payload, read)

    async def list(self, payload: memories.List) -> memories.Listed:
        """Return a page of the memories, newest first."""
        payload = self._addressed(payload)
        return self._read(payload, partial(reads.list_, payload=payload))

    async def count(self, payload: memories.Count) -> memories.Counted:
        """Return how many memories a user has."""
        payload = self._addressed(payload)
        return self._read(payload, lambda space: memories.Counted(count=len(space.rows)))

    async def stats(self, payload: memories.Stats) -> memories.SpaceStats:
        """Return what a space holds, in numbers."""
        payload = self._addressed(payload)
        found = self._read(payload, reads.stats)
        if payload.user_id in self._spaces:
            return found
        return found.model_copy(update={"embedder": None, "dim": None})

    async def list_compactions(self, payload: memories.ListCompactions) -> memories.Compactions:
        """Return a page of the compactions that removed something, newest first."""
        payload = self._addressed(payload)
        return self._read(payload, partial(reads.list_compactions, payload=payload))

    async def list_archived(self, payload: memories.ListArchived) -> memories.ArchivedListed:
        """Return a page of the archive, what went last first."""
        payload = self._addressed(payload)
        return self._read(payload, partial(reads.list_archived, payload=payload))

    async def join(self, payload: memories.Join) -> memories.Members:
        """Let a user share a space."""

        def effect() -> Done[memories.Members]:
            self._sharing.setdefault(payload.space, set()).add(payload.user_id)
            return Done(self._members(payload.space))

        return self._once(payload, effect)

    async def leave(self, payload: memories.Leave) -> memories.Members:
        """Let a user no longer share a space."""

        def effect() -> Done[memories.Members]:
            self._sharing.get(payload.space, set()).discard(payload.user_id)
            return Done(self._members(payload.space))

        return self._once(payload, effect)

    async def list_members(self, payload: memories.ListMembers) -> memories.Members:
        """Return who shares a space."""
        with self._turn:
            return self._members(payload.space)

    def _addressed(self, payload: PayloadT) -> PayloadT:
        """Return the payload as one about the owner of the memories that it is about."""
        space = getattr(payload, "space", None)
        if space is None:
            return payload
        with self._turn:
            members = self._sharing.get(space, set())
            return owned(payload, getattr(payload, "user_id", None) in members)

    def _members(self, space: str) -> memories.Members:
        return memories.Members(members=tuple(sorted(self._sharing.get(space, ()))))

    def _vector(self, content: str | None) -> NDArray[np.float32] | None:
        return None if content is None else self._embedder.embed([content])[0]

    def _seen(self, user_id: str) -> UserSpace:
        """Return the user's space, or an empty one that is not kept."""
        return self._spaces.get(user_id) or UserSpace(self._embedder, self._default.policy)

    def _made(self, user_id: str) -> UserSpace:
        """Return the user's space, which is kept from now on."""
        return self._spaces.setdefault(user_id, self._seen(user_id))

    def _read(self, payload: Payload[Any], read: Callable[[UserSpace], ResultT]) -> ResultT:
        """Return what is read of the payload's user, with nothing in it that the store holds."""
        with self._turn:
            return read(self._seen(str(payload.subject()))).model_copy(deep=True)

    def _once(self, payload: Payload[ResultT], effect: Callable[[], Done[ResultT]]) -> ResultT:
        """Make a change unless this job made it before; return its result."""
        with self._turn:
            if payload.id in self._jobs:
                return self._recorded(payload)
            done = effect()
            self._jobs[payload.id] = (payload.task, payload.subject(), done.result)
        done.tell()
        return done.result.model_copy(deep=True)

    def _recorded(self, payload: Payload[ResultT]) -> ResultT:
        task, user_id, result = self._jobs[payload.id]
        if (task, user_id) != (payload.task, payload.subject()):
            raise Refused.reused(payload.id)
        return cast("ResultT", result.model_copy(deep=True))
