"""The first numbers of a user's vectors, scanned in place of them when there are many.

A quarter of the numbers of two vectors and the lengths of the rest bound their product from above:
<a, b> is at most <head a, head b> + |rest a| |rest b|. So the length of the rest stands at the end
of each head, and a product of heads is that bound. What a quarter of the numbers rules out needs
no look at the others.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

PART = 4  # of the numbers of a vector, one in so many
STEP = 16  # numbers that FAISS multiplies at once
CANDIDATES = 64
"""Vectors that a scan of the heads may leave to be compared with; where it leaves more, all are."""
FLOAT_ERROR = 1e-4  # of a product in float32, generously


class Heads:
    """Heads of vectors by position."""

    def __init__(self, faiss: ModuleType, vectors: NDArray[np.float16]) -> None:
        """Take in vectors of shape (n, dim)."""
        self._faiss = faiss
        self.width = width_of(vectors.shape[1])
        self._index = faiss.IndexScalarQuantizer(
            self.width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self.append(vectors)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def append(self, vectors: NDArray[np.float16]) -> None:
        """Take in vectors of shape (n, dim), at the positions that follow."""
        lengths = np.linalg.norm(vectors[:, self.width - 1 :].astype(np.float64), axis=1)
        stored = np.empty((len(vectors), self.width), dtype=np.float16)
        stored[:, :-1] = vectors[:, : self.width - 1]
        stored[:, -1] = np.nextafter(lengths.astype(np.float16), np.float16(np.inf))  # never less
        self._index.add_sa_codes(stored.view(np.uint8))

    def move(self, sources: NDArray[np.intp], targets: NDArray[np.intp], count: int) -> None:
        """Put the heads at `sources` in the place of those at `targets`, and keep `count`."""
        rows = self._rows()
        rows[targets] = rows[sources]
        self._index.codes.resize(count * self.width * rows.itemsize)
        self._index.ntotal = count

    def reaching(self, query: NDArray[np.float32], least: float) -> NDArray[np.int64] | None:
        """Return where all with a product of `least` are, and maybe others; None for too many."""
        rest = np.linalg.norm(query[self.width - 1 :].astype(np.float64))
        head = np.append(query[: self.width - 1], np.float32(rest))[np.newaxis]
        scores, positions = self._index.search(head, min(CANDIDATES, len(self)))
        likely = scores[0] >= least - FLOAT_ERROR
        if len(self) > CANDIDATES and likely[-1]:
            return None
        found: NDArray[np.int64] = positions[0][likely]
        return found

    def _rows(self) -> NDArray[np.float16]:
        held = self._faiss.rev_swig_ptr(self._index.codes.data(), self._index.codes.size())
        return np.frombuffer(held, dtype=np.float16).reshape(-1, self.width)


def width_of(dim: int) -> int:
    """How many numbers a head has, the last one included; 0 where heads would save nothing."""
    return dim // PART // STEP * STEP
