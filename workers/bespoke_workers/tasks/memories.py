"""The tasks of the memories."""

from bespoke_schemas import memories
from bespoke_workers.app import serves
from bespoke_workers.runtime import Runtime


@serves(memories.Store)
async def store(payload: memories.Store, this: Runtime) -> memories.Stored:
    """Remember one thing that a user said."""
    return await this.memories.store(payload)


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
