"""The one door to FAISS: an index of one user's vectors.

FAISS is imported at the first index made, never with this module: used in a parent before a fork,
it hangs the children. An index is a cache of what the database holds.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from types import ModuleType
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bespoke_workers.errors import Permanent
from bespoke_workers.memories.heads import Heads, width_of
from bespoke_workers.memories.sketch import Sketch

Hit = tuple[UUID, float]  # a memory and its cosine

STORED = np.dtype("<f2")  # float16 changes a verdict at 0.95 once in 4,000, for half the bytes
# Two float16 unit vectors that are equal have a product within this of 1.
ROUNDING = 2e-3
DECIMALS = 6  # of a cosine: more would tell apart what only the order of additions does
OBJECT_BYTES = 2048  # one empty index: the FAISS object, its wrapper and this one
ID_BYTES = 16
FEW_IDS = 16  # to look for one by one; more are sorted
SIMILAR_AT_FIRST = 8  # nearest ones to look at; where all are similar enough, four times as many
HEADS_ABOVE = 2_000
"""Vectors up to which looking at a quarter of each first saves too little; docs/decisions/0033."""
SKETCH_ABOVE = 20_000
"""Vectors up to which comparing with each takes less time than a sketch; docs/decisions/0010."""
CANDIDATES = 400  # likeliest ones by their codes to compare with, to find the nearest
CANDIDATES_EACH = 8  # and as many more for each one that is asked for
FEW_CANDIDATES = 64  # where codes leave nothing to chance
# A part of all: where more are likely, comparing with each costs less.
LARGEST_SHARE, LARGEST_SIMILAR_SHARE = 8, 64


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


def cosines_with(
    query: NDArray[np.floating[Any]], rows: NDArray[np.float16]
) -> NDArray[np.float64]:
    """Return the products of a rounded vector with rows of shape (n, dim); of equal ones, 1.

    Float16 numbers are whole multiples of 2**-24: sums of their products are exact in float64.
    """
    products = rows.astype(np.float64) @ query.astype(np.float64)
    cosines: NDArray[np.float64] = np.minimum(products, 1.0).round(DECIMALS)
    for place in np.flatnonzero(np.abs(cosines - 1) <= ROUNDING):
        if np.array_equal(rows[place], query):
            cosines[place] = 1.0
    return cosines


@cache
def _faiss() -> ModuleType:
    import faiss

    # Two workers on two cores each start as many threads as there are cores, and wait for them.
    faiss.omp_set_num_threads(1)
    return faiss


def _empty(dim: int) -> Any:
    """Return FAISS' plain list of float16 vectors, compared by product."""
    faiss = _faiss()
    return faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )


class UserIndex:
    """One user's vectors; `version` is the state of the space that it shows.

    Vectors are held as they are stored, in float16, and a query is rounded like them, so that the
    same text has a cosine of exactly 1 with itself. Ids stand in an array beside the vectors, 16
    bytes each, where IDMap2's table would take several times as much.

    Every answer follows from what is held, not from how it came to be held. `similar` is exact at
    any size; `nearest` is exact up to `SKETCH_ABOVE` vectors, and above finds what is among the
    likeliest by their codes.
    """

    def __init__(self, ids: Sequence[UUID], vectors: ArrayLike, dim: int, version: int = 0) -> None:
        """Build from `ids` and vectors of shape (len(ids), dim), float16 or float32."""
        self.dim = dim
        self.version = version
        self._index = _empty(dim)
        self._ids = np.empty((0, 2), dtype=np.uint64)
        self._capacity = 0
        self._heads: Heads | None = None
        self._sketch: Sketch | None = None
        self.add_new(ids, vectors)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def nbytes(self) -> int:
        """The memory that it takes, room for growth included."""
        vectors = self._capacity * self.dim * STORED.itemsize
        heads = 0 if self._heads is None else self._capacity * self._heads.width * STORED.itemsize
        sketch = 0 if self._sketch is None else self._sketch.nbytes
        return OBJECT_BYTES + vectors + self._ids.nbytes + heads + sketch

    @property
    def ids(self) -> list[UUID]:
        """The memories that it holds, in no particular order."""
        return _ids(self._ids[: len(self)])

    def add(self, memory_id: UUID, vector: ArrayLike) -> None:
        """Hold a vector of shape (dim,), in place of the one that this memory had, if any."""
        self.add_many([memory_id], np.asarray(vector)[np.newaxis])

    def add_many(self, memory_ids: Sequence[UUID], vectors: ArrayLike) -> None:
        """Hold vectors of shape (len(memory_ids), dim), in place of those that these had."""
        self.remove(memory_ids)
        self.add_new(memory_ids, vectors)

    def add_new(self, ids: Sequence[UUID], vectors: ArrayLike) -> None:
        """Hold vectors of shape (len(ids), dim) of memories that it does not hold yet."""
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
        if self._sketch is not None:
            self._sketch.append(stored)
        elif count > SKETCH_ABOVE:
            self._heads, self._sketch = None, Sketch(_faiss(), self._rows())
        elif self._heads is not None:
            self._heads.append(stored)
        elif count > HEADS_ABOVE and width_of(self.dim):
            self._heads = Heads(_faiss(), self._rows())

    def remove(self, memory_ids: Iterable[UUID]) -> int:
        """Let go of memories, and return how many of them it held."""
        gone = _places(self._ids[: len(self)], _raw(memory_ids))
        if len(gone):
            self._close_gaps(gone, len(self) - len(gone))
        return len(gone)

    def nearest(
        self, vector: ArrayLike, k: int = 1, accept: Callable[[UUID], bool] | None = None
    ) -> list[Hit]:
        """Return the `k` most similar memories that `accept` takes, best first.

        Of equally similar ones the newest id comes first, whatever order they were added in.
        """
        query = self._query(vector)
        if k <= 0 or not len(self):
            return []
        if self._sketch is not None and len(self) > SKETCH_ABOVE:
            hits = self._nearest_by_codes(self._sketch, query, k, accept)
            if hits is not None:
                return hits
        return self._nearest_of_all(query, k, accept)

    def similar(self, vector: ArrayLike, threshold: float) -> list[Hit]:
        """Return all memories with a cosine of at least `threshold`, best first."""
        # FAISS searches float16 by range twenty times slower than it finds the few nearest.
        query, at_once, least = self._query(vector), SIMILAR_AT_FIRST, threshold - ROUNDING
        if self._heads is not None:
            positions = self._heads.reaching(query, least)
        else:
            positions = self._similar_by_codes(query, least)
        while positions is None and len(self):
            at_once = min(at_once, len(self))
            scores, found = self._index.search(query[np.newaxis], at_once)
            if at_once == len(self) or scores[0][-1] < least:
                positions = found[0][scores[0] >= least]
            at_once *= 4
        return [] if positions is None else self._hits(query, positions, least=threshold)

    def similar_to_each(self, vectors: ArrayLike, threshold: float) -> list[list[Hit]]:
        """Return for each vector of shape (n, dim) what `similar` returns, in one search."""
        queries = np.asarray(vectors)
        if self._sketch is not None or not len(self) or not len(queries):
            return [self.similar(vector, threshold) for vector in queries]
        scores, _ = self._index.search(queries.astype(STORED).astype(np.float32), 1)
        some = scores[:, 0] >= threshold - ROUNDING
        return [
            self.similar(vector, threshold) if is_some else []
            for vector, is_some in zip(queries, some, strict=True)
        ]

    def _nearest_of_all(
        self, query: NDArray[np.float32], k: int, accept: Callable[[UUID], bool] | None
    ) -> list[Hit]:
        verdicts, width = dict[UUID, bool](), k + 1
        while True:
            width = min(width, len(self))
            scores, positions = self._index.search(query[np.newaxis], width)
            hits = self._hits(query, positions[0])
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

    def _nearest_by_codes(
        self,
        sketch: Sketch,
        query: NDArray[np.float32],
        k: int,
        accept: Callable[[UUID], bool] | None,
    ) -> list[Hit] | None:
        """Return the nearest of the likeliest; None if too few of those are acceptable."""
        wanted = width = CANDIDATES + CANDIDATES_EACH * k
        while width <= len(self) // LARGEST_SHARE:
            scores, positions = sketch.most_like(query, width)
            # Of codes as good as the last one, FAISS picks by position: none of them counts.
            likely = positions[scores > scores.min(initial=np.inf)]
            if accept is not None:
                names = _ids(self._ids[likely])
                likely = likely[np.fromiter(map(accept, names), dtype=bool, count=len(names))]
            if len(likely) >= wanted // 2:
                return self._hits(query, self._best(query, likely, k))[:k]
            width *= 4
        return None

    def _similar_by_codes(
        self, query: NDArray[np.float32], least: float
    ) -> NDArray[np.int64] | None:
        """Return where all with a product of `least` are; None if a scan is due."""
        if self._sketch is None or len(self) <= SKETCH_ABOVE:
            return None
        floor, width = self._sketch.floor(query, least), min(FEW_CANDIDATES, len(self))
        while floor is not None and width <= max(
            len(self) // LARGEST_SIMILAR_SHARE, FEW_CANDIDATES
        ):
            scores, positions = self._sketch.most_like(query, width)
            if len(scores) < width:
                return None
            if scores[-1] < floor:
                scores, positions = self._compared(query, positions[scores >= floor])
                return positions[scores >= least]
            width *= 8
        return None

    def _best(
        self, query: NDArray[np.float32], positions: NDArray[np.int64], k: int
    ) -> NDArray[np.int64]:
        """Return those of `positions` that may be among the `k` most similar ones."""
        if len(positions) <= k:
            return positions
        scores, best_first = self._compared(query, positions)
        close: NDArray[np.int64] = best_first[scores >= scores[k - 1] - ROUNDING]
        return close

    def _compared(
        self, query: NDArray[np.float32], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the products with the vectors at some positions, and these, best first."""
        if not len(positions):
            return np.empty(0, dtype=np.float32), positions
        some = _empty(self.dim)
        some.add_sa_codes(self._rows().take(positions, axis=0).view(np.uint8))
        scores, places = some.search(query[np.newaxis], len(positions))
        return scores[0], positions[places[0]]

    def _close_gaps(self, gaps: NDArray[np.intp], count: int) -> None:
        """Move the last ones into the gaps that others left, and keep `count`."""
        stays = np.ones(len(gaps), dtype=bool)  # of as many as are gone, the last ones
        stays[gaps[gaps >= count] - count] = False
        sources, targets = count + np.flatnonzero(stays), gaps[gaps < count]
        rows = self._rows()
        rows[targets] = rows[sources]
        self._ids[targets] = self._ids[sources]
        if count <= SKETCH_ABOVE // 2:
            self._sketch = None
        elif self._sketch is not None:
            self._sketch.move(sources, targets, count)
        if count <= HEADS_ABOVE // 2:
            self._heads = None
        elif self._heads is not None:
            self._heads.move(sources, targets, count)
        self._index.codes.resize(count * self.dim * STORED.itemsize)
        self._index.ntotal = count

    def _rows(self) -> NDArray[np.float16]:
        """The vectors where FAISS holds them, of shape (n, dim), until it holds others."""
        size = self._index.codes.size()
        held = _faiss().rev_swig_ptr(self._index.codes.data(), size) if size else b""
        return np.frombuffer(held, dtype=STORED).reshape(-1, self.dim)

    def _query(self, vector: ArrayLike) -> NDArray[np.float32]:
        query = np.asarray(vector, dtype=np.float32).astype(STORED).astype(np.float32)
        if query.shape != (self.dim,):
            raise Permanent(f"query vector: got shape {query.shape}, expected {(self.dim,)}")
        return query

    def _hits(
        self, query: NDArray[np.float32], positions: NDArray[np.int64], least: float = -np.inf
    ) -> list[Hit]:
        """Return the memories at `positions` with a cosine of at least `least`, best first."""
        if not len(positions):  # as for most stores
            return []
        cosines = cosines_with(query, self._rows()[positions])
        some = cosines >= least
        hits = zip(_ids(self._ids[positions[some]]), cosines[some].tolist(), strict=True)
        return sorted(hits, key=lambda hit: (hit[1], hit[0]), reverse=True)


def _raw(ids: Iterable[UUID]) -> NDArray[np.uint64]:
    """Ids as rows of two words, in the bytes of `UUID.bytes`."""
    return np.frombuffer(b"".join(id_.bytes for id_ in ids), dtype=np.uint64).reshape(-1, 2)


def _ids(held: NDArray[np.uint64]) -> list[UUID]:
    """Rows of two words as the ids that `_raw` was given."""
    raw = held.tobytes()
    return [UUID(bytes=raw[i : i + ID_BYTES]) for i in range(0, len(raw), ID_BYTES)]


def _places(held: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return where, among held ids of shape (n, 2), those wanted are, in order."""
    if len(wanted) > FEW_IDS:
        ends = np.sort(wanted[:, 1])
        likely = ends.take(ends.searchsorted(held[:, 1]), mode="clip") == held[:, 1]
        found = np.flatnonzero(likely)
        exactly = set(_whole(wanted))
        return found[[one in exactly for one in _whole(held[found])]]
    each = [_place(held, high, low) for high, low in wanted]
    if len(each) == 1:
        return each[0]
    return np.unique(np.concatenate(each)) if each else np.empty(0, dtype=np.intp)


def _whole(rows: NDArray[np.uint64]) -> list[bytes]:
    """Return rows of two words as one piece of 16 bytes each."""
    pieces: list[bytes] = rows.view(f"V{ID_BYTES}")[:, 0].tolist()
    return pieces


def _place(held: NDArray[np.uint64], high: np.uint64, low: np.uint64) -> NDArray[np.intp]:
    found = np.flatnonzero(held[:, 1] == low)
    return found[held[found, 0] == high] if len(found) else found
