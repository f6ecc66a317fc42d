"""The tasks of the memories."""

from bespoke_schemas import memories
from bespoke_workers.app import serves
from bespoke_workers.configuration import EXPORT_SECONDS
from bespoke_workers.errors import Transient
from bespoke_workers.runtime import Runtime
from bespoke_workers.tasks.telling import to_watchers


@serves(memories.Store)
async def store(payload: memories.Store, this: Runtime) -> memories.Stored:
    """Remember one thing that a user said."""
    return await this.memories.store(payload)


@serves(memories.StoreMany)
async def store_many(payload: memories.StoreMany, this: Runtime) -> memories.StoredMany:
    """Remember many things that a user said."""
    return await this.memories.store_many(payload)


@serves(memories.Export, seconds=EXPORT_SECONDS)
async def export(payload: memories.Export, this: Runtime) -> memories.Exported:
    """Write a user's memories to a file."""
    return await this.memories.export(payload, to_watchers(this, payload))


@serves(memories.Import)
async def import_(payload: memories.Import, this: Runtime) -> memories.Imported | None:
    """Bring records in; a long import goes back to the end of its queue between slices."""
    imported = await this.memories.import_(payload, to_watchers(this, payload))
    if imported is None:
        _go_on(this, payload)
    return imported


def _go_on(this: Runtime, payload: memories.Import) -> None:
    """Send the payload again. If that fails, the message at hand stays and is tried again."""
    try:
        this.outbox.enqueue(payload)
    except Exception as error:  # noqa: BLE001  # whichever way the broker fails
        raise Transient(f"the broker failed: {type(error).__name__}") from None


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


@serves(memories.Join)
async def join(payload: memories.Join, this: Runtime) -> memories.Members:
    """Let a user share a space."""
    return await this.memories.join(payload)


@serves(memories.Leave)
async def leave(payload: memories.Leave, this: Runtime) -> memories.Members:
    """Let a user no longer share a space."""
    return await this.memories.leave(payload)


@serves(memories.ListMembers)
async def list_members(payload: memories.ListMembers, this: Runtime) -> memories.Members:
    """List who shares a space."""
    return await this.memories.list_members(payload)
