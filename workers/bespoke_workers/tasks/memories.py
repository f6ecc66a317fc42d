"""The tasks of the memories."""

from bespoke_schemas import memories
from bespoke_workers.app import serves
from bespoke_workers.runtime import Runtime


@serves(memories.Store)
async def store(payload: memories.Store, this: Runtime) -> memories.Stored:
    """Remember one thing that a user said."""
    return await this.memories.store(payload)


@serves(memories.StoreMany)
async def store_many(payload: memories.StoreMany, this: Runtime) -> memories.StoredMany:
    """Remember many things that a user said."""
    return await this.memories.store_many(payload)


@serves(memories.Search)
async def search(payload: memories.Search, this: Runtime) -> memories.Found:
    """Find a user's memories by meaning."""
    return await this.memories.search(payload)


@serves(memories.List)
async def list_(payload: memories.List, this: Runtime) -> memories.Listed:
    """List a user's memories."""
    return await this.memories.list(payload)


@serves(memories.Count)
async def count(payload: memories.Count, this: Runtime) -> memories.Counted:
    """Count a user's memories."""
    return await this.memories.count(payload)


@serves(memories.Get)
async def get(payload: memories.Get, this: Runtime) -> memories.Got:
    """Read one memory."""
    return await this.memories.get(payload)


@serves(memories.Stats)
async def stats(payload: memories.Stats, this: Runtime) -> memories.SpaceStats:
    """Tell what a user's space holds."""
    return await this.memories.stats(payload)


@serves(memories.FindSimilar)
async def find_similar(payload: memories.FindSimilar, this: Runtime) -> memories.Found:
    """Find what is similar to a memory or a text."""
    return await this.memories.find_similar(payload)


@serves(memories.SetPolicy)
async def set_policy(payload: memories.SetPolicy, this: Runtime) -> memories.PolicyInForce:
    """Set fields of a user's policy."""
    return await this.memories.set_policy(payload)


@serves(memories.GetPolicy)
async def get_policy(payload: memories.GetPolicy, this: Runtime) -> memories.PolicyInForce:
    """Read the policy that a user's memories are kept to."""
    return await this.memories.get_policy(payload)


@serves(memories.Delete)
async def delete(payload: memories.Delete, this: Runtime) -> memories.Deleted:
    """Remove one memory."""
    return await this.memories.delete(payload)


@serves(memories.Clear)
async def clear(payload: memories.Clear, this: Runtime) -> memories.Cleared:
    """Remove many memories."""
    return await this.memories.clear(payload)


@serves(memories.Compact)
async def compact(payload: memories.Compact, this: Runtime) -> memories.Compaction | None:
    """Compact a user's memories, or everybody's; the answer to that comes when all are done."""
    if payload.user_id is None:
        return await this.rounds.begin(payload)
    return await this.rounds.part(payload, this.memories.compact)


@serves(memories.ListCompactions)
async def list_compactions(
    payload: memories.ListCompactions, this: Runtime
) -> memories.Compactions:
    """List the compactions of a user's memories."""
    return await this.memories.list_compactions(payload)


@serves(memories.ListArchived)
async def list_archived(payload: memories.ListArchived, this: Runtime) -> memories.ArchivedListed:
    """List what is in the archive of a user's memories."""
    return await this.memories.list_archived(payload)


@serves(memories.Restore)
async def restore(payload: memories.Restore, this: Runtime) -> memories.Restored:
    """Bring memories back from the archive."""
    return await this.memories.restore(payload)


@serves(memories.Update)
async def update(payload: memories.Update, this: Runtime) -> memories.Updated:
    """Change one memory."""
    return await this.memories.update(payload)
