"""A bounded cache of indexes by user."""

from collections import OrderedDict
from dataclasses import dataclass

from bespoke_workers.memories.index import UserIndex


@dataclass(frozen=True)
class CacheStatistics:
    """What a cache holds, and how often it could serve. `nbytes` is what its indexes take."""

    users: int
    nbytes: int
    max_bytes: int
    hits: int
    misses: int
    evictions: int


class IndexCache:
    """Indexes by user, of which the least recently used go when they outgrow `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._indexes: OrderedDict[str, UserIndex] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._nbytes = self._hits = self._misses = self._evictions = 0

    def get(self, user_id: str) -> UserIndex | None:
        """Return a user's index, now the most recently used, or None."""
        index = self._indexes.get(user_id)
        if index is None:
            self._misses += 1
            return None
        self._hits += 1
        self._indexes.move_to_end(user_id)
        return index

    def put(self, user_id: str, index: UserIndex) -> None:
        """Keep an index. To be called again when it has changed, for its size is taken here.

        An index that is larger than the whole cache is not kept.
        """
        self._forget(user_id)
        if index.nbytes > self.max_bytes:
            return
        self._indexes[user_id] = index
        self._sizes[user_id] = index.nbytes
        self._nbytes += index.nbytes
        while self._nbytes > self.max_bytes:
            self._forget(next(iter(self._indexes)))
            self._evictions += 1

    def drop(self, user_id: str) -> None:
        """Let go of a user's index, if it is there."""
        self._forget(user_id)

    def clear(self) -> None:
        """Let go of every index."""
        self._indexes.clear()
        self._sizes.clear()
        self._nbytes = 0

    @property
    def statistics(self) -> CacheStatistics:
        """What it holds now, and what it served since it was made."""
        return CacheStatistics(
            users=len(self._indexes),
            nbytes=self._nbytes,
            max_bytes=self.max_bytes,
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
        )

    def _forget(self, user_id: str) -> None:
        if self._indexes.pop(user_id, None) is not None:
            self._nbytes -= self._sizes.pop(user_id)
