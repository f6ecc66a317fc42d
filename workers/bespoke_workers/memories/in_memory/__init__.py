"""The memories of every user in one process: for applications' tests, and without servers."""

from bespoke_workers.memories.in_memory.store import InMemoryStore

__all__ = ["InMemoryStore"]
