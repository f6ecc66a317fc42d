"""The one door to FAISS: an exact index of one user's vectors, and a bounded cache of indexes.

FAISS is imported at the first index made, never with this module: used in a parent before a fork,
it hangs the children. An index is a cache of what the database holds.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bespoke_workers.errors import Permanent

Hit = tuple[UUID, float]  # a memory and its cosine

STORED = np.dtype("<f2")  # float16 changes a verdict at 0.95 once in 4,000, for half the bytes
# Two float16 unit vectors that are equal have a product within this of 1.
ROUNDING = 2e-3
DECIMALS = 6  # of a cosine: more would tell apart what only the order of additions does
OBJECT_BYTES = 2048  # one empty index: the FAISS object, its wrapper and this one
ID_BYTES = 16
RAW_ID = np.dtype((np.void, ID_BYTES))
FEW_IDS = 16  # to look for one by one; more are sorted
SIMILAR_AT_FIRST = 8  # nearest ones to look at; where all are similar enough, four times as many


def to_bytes(vector: ArrayLike) -> bytes:
    """Return a vector of shape (dim,) as it is stored: float16, little-endian."""
    return np.asarray(vector, dtype=np.float32).astype(STORED).tobytes()


def from_bytes(stored: bytes, dim: int) -> NDArray[np.float16]:
    """Return the vector of shape (dim,) that `to_bytes` wrote.

    Raises:
        Permanent: the bytes are not those of `dim` numbers.
    """
    if len(stored) != dim * STORED.itemsize:
        raise Permanent(f"stored vector: got {len(stored)} bytes, expected {dim * STORED.itemsize}")
    return np.frombuffer(stored, dtype=STORED)


def rows_from_bytes(stored: bytes | Iterable[bytes], dim: int) -> NDArray[np.float16]:
    """Return vectors of shape (n, dim) out of stored ones, joined already or one by one.

    Raises:
        Permanent: the bytes are not a whole number of vectors of `dim` numbers.
    """
    joined = stored if isinstance(stored, bytes) else b"".join(stored)
    if len(joined) % (dim * STORED.itemsize):
        raise Permanent(f"stored vectors: {len(joined)} bytes are no multiple of dimension {dim}")
    return np.frombuffer(joined, dtype=STORED).reshape(-1, dim)


@cache
def _faiss() -> ModuleType:
    import faiss

    # Two workers on two cores each start as many threads as there are cores, and wait for them.
    faiss.omp_set_num_threads(1)
    return faiss


class UserIndex:
    """One user's vectors, searched exactly; `version` is the state of the space that it shows.

    Vectors are held as they are stored, in float16, and a query is rounded like them, so that the
    same text has a cosine of exactly 1 with itself. Ids stand in an array beside the vectors, 16
    bytes each, where IDMap2's table would take several times as much.
    """

    def __init__(self, ids: Sequence[UUID], vectors: ArrayLike, dim: int, version: int = 0) -> None:
        """Build from `ids` and vectors of shape (len(ids), dim), float16 or float32."""
        self.dim = dim
        self.version = version
        faiss = _faiss()
        self._index = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._ids = np.empty((0, 2), dtype=np.uint64)
        self._capacity = 0
        self._append(ids, vectors)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def nbytes(self) -> int:
        """The memory that it takes, room for growth included."""
        return OBJECT_BYTES + self._capacity * self.dim * STORED.itemsize + self._ids.nbytes

    @property
    def ids(self) -> list[UUID]:
        """The memories that it holds, in no particular order."""
        raw = self._ids[: len(self)].tobytes()
        return [UUID(bytes=raw[i : i + ID_BYTES]) for i in range(0, len(raw), ID_BYTES)]

    def add(self, memory_id: UUID, vector: ArrayLike) -> None:
        """Hold a vector of shape (dim,), in place of the one that this memory had, if any."""
        self.remove([memory_id])
        self._append([memory_id], np.asarray(vector)[np.newaxis])

    def remove(self, memory_ids: Iterable[UUID]) -> int:
        """Let go of memories, and return how many of them it held."""
        held = self._ids[: len(self)]
        gone = _among(held, _raw(memory_ids))
        removed = int(np.count_nonzero(gone))
        if removed:
            self._index.remove_ids(np.flatnonzero(gone))  # keeps the order of the others
            self._ids[: len(held) - removed] = held[~gone]
        return removed

    def nearest(
        self, vector: ArrayLike, k: int = 1, accept: Callable[[UUID], bool] | None = None
    ) -> list[Hit]:
        """Return the `k` most similar memories that `accept` takes, best first.

        Of equally similar ones the newest id comes first, whatever order they were added in.
        """
        query, verdicts, width = self._query(vector), dict[UUID, bool](), k + 1
        while len(self) and k > 0:
            width = min(width, len(self))
            scores, positions = self._index.search(query[np.newaxis], width)
            hits = self._hits(query, scores[0], positions[0])
            for memory_id, _ in hits:
                if memory_id not in verdicts:
                    verdicts[memory_id] = accept is None or accept(memory_id)
            taken = [hit for hit in hits if verdicts[hit[0]]]
            # Only a clear distance to the last one seen says that nothing unseen is as good.
            if width == len(self) or (
                len(taken) >= k and scores[0][-1] + ROUNDING < taken[k - 1][1]
            ):
                return taken[:k]
            width *= 4
        return []

    def similar(self, vector: ArrayLike, threshold: float) -> list[Hit]:
        """Return all memories with a cosine of at least `threshold`, best first."""
        # FAISS searches float16 by range twenty times slower than it finds the few nearest.
        query, width, least = self._query(vector), SIMILAR_AT_FIRST, threshold - ROUNDING
        while len(self):
            width = min(width, len(self))
            scores, positions = self._index.search(query[np.newaxis], width)
            if width == len(self) or scores[0][-1] < least:
                near = scores[0] >= least
                hits = self._hits(query, scores[0][near], positions[0][near])
                return [hit for hit in hits if hit[1] >= threshold]
            width *= 4
        return []

    def _append(self, ids: Sequence[UUID], vectors: ArrayLike) -> None:
        stored = np.ascontiguousarray(vectors, dtype=STORED)
        if stored.size == 0 and not ids:
            return
        if stored.shape != (len(ids), self.dim):
            raise Permanent(f"vectors: got shape {stored.shape}, expected {(len(ids), self.dim)}")
        if not np.isfinite(stored).all():
            raise Permanent("vectors: got one that is not finite")
        before, count = len(self), len(self) + len(ids)
        if count > self._capacity:
            # As the vector of codes inside FAISS grows, so that `nbytes` can tell.
            self._capacity = before + max(before, len(ids))
            grown = np.empty((self._capacity, 2), dtype=np.uint64)
            grown[:before] = self._ids[:before]
            self._ids = grown
        self._index.add_sa_codes(stored.view(np.uint8))
        self._ids[before:count] = _raw(ids)

    def _query(self, vector: ArrayLike) -> NDArray[np.float32]:
        query = np.asarray(vector, dtype=np.float32).astype(STORED).astype(np.float32)
        if query.shape != (self.dim,):
            raise Permanent(f"query vector: got shape {query.shape}, expected {(self.dim,)}")
        return query

    def _hits(
        self,
        query: NDArray[np.float32],
        scores: NDArray[np.float32],
        positions: NDArray[np.int64],
    ) -> list[Hit]:
        raw = self._ids[positions].tobytes()
        hits = []
        for place, (score, position) in enumerate(zip(scores, positions, strict=True)):
            memory_id = UUID(bytes=raw[place * ID_BYTES : (place + 1) * ID_BYTES])
            hits.append((memory_id, self._cosine(query, float(score), int(position))))
        return sorted(hits, key=lambda hit: (hit[1], hit[0]), reverse=True)

    def _cosine(self, query: NDArray[np.float32], score: float, position: int) -> float:
        """The product of two rounded vectors, except that equal ones have a cosine of 1."""
        if abs(score - 1) <= ROUNDING and np.array_equal(self._index.reconstruct(position), query):
            return 1.0
        return round(min(score, 1.0), DECIMALS)


def _raw(ids: Iterable[UUID]) -> NDArray[np.uint64]:
    """Ids as rows of two words, in the bytes of `UUID.bytes`."""
    return np.frombuffer(b"".join(id_.bytes for id_ in ids), dtype=np.uint64).reshape(-1, 2)


def _among(held: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Say of each held id, of shape (n, 2), whether it is among those wanted."""
    if len(wanted) > FEW_IDS:
        return np.isin(held.view(RAW_ID).ravel(), wanted.view(RAW_ID).ravel())
    gone = np.zeros(len(held), dtype=bool)
    for high, low in wanted:
        gone |= (held[:, 0] == high) & (held[:, 1] == low)
    return gone


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
