"""What any store of memories offers, whatever it keeps them in."""

from typing import Protocol

from bespoke_schemas import memories


class MemoryStore(Protocol):
    """The memories of every user, behind one port: each payload has its method.

    `Memories` keeps them in PostgreSQL, `InMemoryStore` in this process. Whichever it is, a
    payload that changes something takes effect once per id, a space is within its policy and
    free of duplicates after each store, what leaves it goes to the archive, and no call reads or
    changes anything of a user whom its payload does not name. All raise Refused if an id belongs
    to another job, or if a policy is not allowed.

    Export and Import are not of it: one writes files, the other is a job of many deliveries, and
    both belong to the queue. Nor is a space exported before a large compaction, but in PostgreSQL.
    """

    async def store(self, payload: memories.Store) -> memories.Stored:
        """Remember one thing that a user said, or merge it with its duplicate; then compact."""

    async def store_many(self, payload: memories.StoreMany) -> memories.StoredMany:
        """Remember many things, all or none, merging duplicates; then compact once."""

    async def search(self, payload: memories.Search) -> memories.Found:
        """Find memories by meaning, and count the access of each one found."""

    async def find_similar(self, payload: memories.FindSimilar) -> memories.Found:
        """Find what is similar to a memory, or to a text; no access is counted."""

    async def get(self, payload: memories.Get) -> memories.Got:
        """Return one memory, or None."""

    async def list(self, payload: memories.List) -> memories.Listed:
        """Return a page of the memories, newest first."""

    async def count(self, payload: memories.Count) -> memories.Counted:
        """Return how many memories a user has."""

    async def stats(self, payload: memories.Stats) -> memories.SpaceStats:
        """Return what a space holds, in numbers."""

    async def update(self, payload: memories.Update) -> memories.Updated:
        """Change a memory, or merge it with what its new content duplicates."""

    async def delete(self, payload: memories.Delete) -> memories.Deleted:
        """Move one memory to the archive."""

    async def clear(self, payload: memories.Clear) -> memories.Cleared:
        """Move memories to the archive: all, or those of a kind and with some tags."""

    async def compact(self, payload: memories.Compact) -> memories.Compaction:
        """Compact the memories, as triggers say or by force."""

    async def list_compactions(self, payload: memories.ListCompactions) -> memories.Compactions:
        """Return a page of the compactions that removed something, newest first."""

    async def list_archived(self, payload: memories.ListArchived) -> memories.ArchivedListed:
        """Return a page of the archive, what went last first."""

    async def restore(self, payload: memories.Restore) -> memories.Restored:
        """Bring memories back from the archive, within the policy."""

    async def set_policy(self, payload: memories.SetPolicy) -> memories.PolicyInForce:
        """Change a user's policy."""

    async def get_policy(self, payload: memories.GetPolicy) -> memories.PolicyInForce:
        """Return the policy in force for a user."""

    async def join(self, payload: memories.Join) -> memories.Members:
        """Let a user share a space."""

    async def leave(self, payload: memories.Leave) -> memories.Members:
        """Let a user no longer share a space."""

    async def list_members(self, payload: memories.ListMembers) -> memories.Members:
        """Return who shares a space."""
