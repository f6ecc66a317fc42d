"""What may happen to one worker's cached index of "ada", at any moment."""

from collections.abc import Callable
from uuid import uuid4

import numpy as np

from bespoke_workers.memories.index import UserIndex
from bespoke_workers.memories.store import Memories
from tests.integration.memory_workers import ANGLES, CACHE_BYTES


def lose(memories: Memories) -> None:
    """Empty the cache, as a restart does."""
    memories.indexes.clear()


def replace_by_junk(memories: Memories) -> None:
    """Put an index of some other state in the place of the right one."""
    junk = np.eye(3, ANGLES.dim, dtype=np.float32)
    memories.indexes.put("ada", UserIndex([uuid4() for _ in range(3)], junk, ANGLES.dim, 2))


def thin_out(memories: Memories) -> None:
    """Take a vector out of the cached index."""
    held = memories.indexes.get("ada")
    if held is not None:
        held.remove(held.ids[:1])


def age(memories: Memories) -> None:
    """Say that the cached index is of an earlier version than it is."""
    held = memories.indexes.get("ada")
    if held is not None:
        held.version -= 1


def replace_by_wrong_vectors(memories: Memories) -> None:
    """Put an index of the same memories, size and version there, whose vectors are mixed up."""
    held = memories.indexes.get("ada")
    if held is not None:
        vectors = np.roll(held._rows(), 1, axis=0)
        memories.indexes.put("ada", UserIndex(held.ids, vectors, ANGLES.dim, held.version))


def take_back_an_older_one(memories: Memories) -> None:
    """Put a copy of an earlier state in the place of the present one, and keep one of that."""
    held, older = memories.indexes.get("ada"), memories.indexes.get("older")
    if held is not None:
        copy = UserIndex(held.ids, held._rows(), ANGLES.dim, held.version)
        memories.indexes.put("older", copy)
    if older is not None:
        memories.indexes.put("ada", older)


def shrink_or_widen(memories: Memories) -> None:
    """Leave the cache no room, or give it back."""
    memories.indexes.max_bytes = 0 if memories.indexes.max_bytes else CACHE_BYTES


HARM: tuple[Callable[[Memories], None], ...] = (
    lose,
    replace_by_junk,
    replace_by_wrong_vectors,
    take_back_an_older_one,
    shrink_or_widen,
    thin_out,
    age,
)
