"""Short codes of a user's vectors, scanned in place of them when there are very many.

A vector is turned by a fixed rotation, and each six of its numbers become the nearest of sixteen
codewords: 32 bytes for 384 numbers of float16, which are 768. FAISS compares a query with half a
million codes in the time of thirty thousand vectors. Nothing is learnt from the vectors: rotation
and codewords are the same for everybody, and a code follows from its vector alone, to the bit, so
that an index that has grown and one that is built anew hold the same codes.
"""

import math
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

WORDS = np.array(
    [
        [-3, 4, -1, -2, 0, -4], [4, 2, 1, -5, -4, -2], [2, 3, 5, 2, -1, -1], [-1, 0, 0, 6, -1, -4],
        [-1, -2, -4, -5, -1, 3], [4, -6, 2, 2, 0, 0], [-2, -2, 1, 0, -6, 1], [-1, -4, 2, -2, 1, -4],
        [-2, 2, 1, 2, 6, -1], [5, 2, -2, -1, 4, -1], [1, -1, 4, -4, 3, 3], [2, 0, 0, 4, 0, 5],
        [-5, -1, 3, 1, 1, 3], [2, 1, -6, 2, -3, -3], [-3, -2, -4, 1, 2, 1], [0, 6, -1, -1, -1, 4],
    ],
    dtype=np.float64,
) / 4  # fmt: skip
"""Centroids of normally distributed numbers; in quarters, so that sums with them are exact."""
GROUP: int = WORDS.shape[1]
BLOCK = 32  # codes that FAISS packs together
# In a block's row of 16 bytes, byte j has the codes of places ORDER[j] and ORDER[j] + 16.
ORDER = (0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15)
BYTE_OF = np.argsort(ORDER)
CHUNK = 512  # vectors encoded at once: what is computed of them fits a core's cache
ANGLE_STEPS = 100  # in a radian: bounds are kept for angles rounded up to these
FLOAT_ERROR = 1e-4  # of a comparison in float32, generously


class Sketch:
    """Codes of vectors by position, and how far each may be from its vector."""

    def __init__(self, faiss: ModuleType, vectors: NDArray[np.float16]) -> None:
        """Encode vectors of shape (n, dim)."""
        self._faiss = faiss
        self.dim = vectors.shape[1]
        self._groups = _groups(self.dim)
        codes = faiss.IndexPQFastScan(
            self._groups * GROUP, self._groups, 4, faiss.METRIC_INNER_PRODUCT
        )
        words = np.tile(WORDS.astype(np.float32), (self._groups, 1, 1))
        faiss.copy_array_to_vector(words.ravel(), codes.pq.centroids)
        codes.is_trained = True
        self._codes = codes
        # Of each vector: the part of its code that lies along it, and the part that does not.
        self._parts = np.empty((0, 2), dtype=np.float32)
        self._longest = 0.0
        self._floors: dict[int, float] = {}
        self.append(vectors)

    def __len__(self) -> int:
        return int(self._codes.ntotal)

    @property
    def nbytes(self) -> int:
        """The memory that it takes, room for growth included."""
        words = WORDS.size * self._groups * 4
        codes = self._codes.codes
        return int(codes.round_capacity(codes.size()) + self._parts.nbytes + words)

    def append(self, vectors: NDArray[np.float16]) -> None:
        """Take in vectors of shape (n, dim), at the positions that follow."""
        before, count = len(self), len(self) + len(vectors)
        if count > len(self._parts):
            grown = np.empty((before + max(before, len(vectors)), 2), dtype=np.float32)
            grown[:before] = self._parts[:before]
            self._parts = grown
        self._resize(count)
        for start in range(0, len(vectors), CHUNK):
            chunk = vectors[start : start + CHUNK]
            positions = np.arange(before + start, before + start + len(chunk))
            codes, self._parts[positions] = self._encoded(chunk)
            self._write(positions, codes)
        added = self._parts[before:count]
        for step, floor in self._floors.items():
            self._floors[step] = min(floor, _floor(added, step))

    def move(self, sources: NDArray[np.intp], targets: NDArray[np.intp], count: int) -> None:
        """Put the codes at `sources` in the place of those at `targets`, and keep `count`."""
        if len(sources):
            packed = self._packed()
            shifts = _shift(sources)
            bytes_ = packed[sources // BLOCK, :, BYTE_OF[sources % 16]]
            self._write(targets, ((bytes_ >> shifts[:, np.newaxis]) & 15).astype(np.uint8))
            self._parts[targets] = self._parts[sources]
        self._resize(count)

    def most_like(
        self, query: NDArray[np.float32], width: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return what the codes of the `width` likeliest make of their products, and positions.

        FAISS may leave out codes with the least score that there can be; fewer are returned then.
        """
        scores, positions = self._codes.search(self._turned(query), width)
        found = positions[0] >= 0
        return scores[0][found], positions[0][found]

    def floor(self, query: NDArray[np.float32], least: float) -> float | None:
        """Return a score that every vector with a product of `least` or more reaches.

        The angle between a query and a code is at most the one between the query and the vector
        and the one between the vector and its code together. None where that says nothing.
        """
        length = float(np.linalg.norm(query))
        if least <= 0 or length == 0 or self._longest == 0:
            return None
        angle = math.acos(min(least / (length * self._longest), 1.0))
        step = math.ceil(angle * ANGLE_STEPS)
        if step not in self._floors:
            self._floors[step] = _floor(self._parts[: len(self)], step)
        return length * self._floors[step] - self._rounding(query) - FLOAT_ERROR

    def _rounding(self, query: NDArray[np.float32]) -> float:
        """By how much FAISS, which adds up bytes, may be off."""
        products = self._turned(query).reshape(self._groups, GROUP) @ WORDS.T.astype(np.float32)
        spans = np.ptp(products, axis=1)
        return float(self._groups * max(spans.max() / 255, spans.sum() / 65535))

    def _turned(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        turned = _turn(query[np.newaxis].astype(np.float64))
        padded = np.zeros((1, self._groups * GROUP), dtype=np.float32)
        padded[:, : turned.shape[1]] = turned / turned.shape[1]
        return padded

    def _encoded(
        self, vectors: NDArray[np.float16]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        # Float16 numbers are whole multiples of 2**-24: all of this is exact in float64, and so
        # the same whatever order and whatever instructions a machine adds with.
        turned = _turn(vectors.astype(np.float64))
        order = turned.shape[1]
        padded = np.zeros((len(vectors), self._groups * GROUP))
        padded[:, :order] = turned
        products = padded.reshape(-1, GROUP) @ WORDS.T
        squares = (WORDS * WORDS).sum(axis=1)
        codes = (products - squares / 2).argmax(axis=1)
        picked = np.take_along_axis(products, codes[:, np.newaxis], axis=1)
        along = picked.reshape(len(vectors), -1).sum(axis=1) / order
        size = squares[codes].reshape(len(vectors), -1).sum(axis=1) / order
        lengths = np.sqrt((turned * turned).sum(axis=1) / order)
        self._longest = max(self._longest, float(lengths.max(initial=0)))
        along = np.divide(along, lengths, out=np.zeros_like(along), where=lengths > 0)
        across = np.sqrt(np.maximum(size - along * along, 0))
        return (
            codes.reshape(len(vectors), -1).astype(np.uint8),
            np.stack([along, across], axis=1),
        )

    def _resize(self, count: int) -> None:
        blocks = -(-count // BLOCK)
        self._codes.codes.resize(blocks * self._groups * BLOCK // 2)
        self._codes.ntotal = count
        self._codes.ntotal2 = blocks * BLOCK

    def _packed(self) -> NDArray[np.uint8]:
        """The codes as FAISS holds them, of shape (blocks, groups, 16)."""
        size = self._codes.codes.size()
        if size == 0:
            return np.empty((0, self._groups, 16), dtype=np.uint8)
        held: NDArray[np.uint8] = self._faiss.rev_swig_ptr(self._codes.codes.get(), size)
        return held.reshape(-1, self._groups, 16)

    def _write(self, positions: NDArray[np.intp], codes: NDArray[np.uint8]) -> None:
        packed, shifts = self._packed(), _shift(positions)
        for shift in (0, 4):  # the two codes of a byte one after the other
            some = shifts == shift
            at = (positions[some] // BLOCK, slice(None), BYTE_OF[positions[some] % 16])
            packed[at] = (packed[at] & (240 >> shift)) | (codes[some] << np.uint8(shift))


def _shift(positions: NDArray[np.intp]) -> NDArray[np.uint8]:
    return np.where(positions % BLOCK >= 16, 4, 0).astype(np.uint8)


def _floor(parts: NDArray[np.float32], step: int) -> float:
    """The least score that a vector within an angle of a unit query has; see `Sketch.floor`."""
    angle = step / ANGLE_STEPS
    along, across = parts[:, 0], parts[:, 1]
    # Past the opposite of its code a vector cannot be.
    opposite = np.arctan2(across, along) + angle >= math.pi
    scores = along * math.cos(angle) - across * math.sin(angle)
    return float(np.where(opposite, -np.hypot(along, across), scores).min(initial=math.inf))


def _groups(dim: int) -> int:
    """How many codes a vector has: an even number, as FAISS packs them in pairs."""
    return -(-_order(dim) // (2 * GROUP)) * 2


def _order(dim: int) -> int:
    """The least order of a Hadamard matrix, of those made here, that has room for a vector."""
    power = 1 << (dim - 1).bit_length()
    dozens = 12 << (-(-dim // 12) - 1).bit_length()
    return min(power, dozens)


def _turn(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotate vectors of shape (n, dim) and stretch them by the root of the order.

    A Hadamard matrix with random signs spreads what stands out in one number over all of them.
    """
    signs, left, right = _rotation(vectors.shape[1])
    rows, columns = len(left), len(right)
    padded = np.zeros((len(vectors), rows * columns))
    padded[:, : vectors.shape[1]] = vectors * signs
    half = (padded.reshape(-1, columns) @ right).reshape(-1, rows, columns)
    turned: NDArray[np.float64] = np.matmul(left, half).reshape(len(vectors), -1)
    return turned


@cache
def _rotation(
    dim: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Signs of shape (dim,), and two Hadamard matrices whose Kronecker product is the rotation."""
    # Bits of a fixed generator, which are the same under every version of NumPy.
    bits = np.random.PCG64(20240229).random_raw(dim) >> np.uint64(63)
    order = _order(dim)
    twelve = order % 12 == 0
    twos = (order // 12 if twelve else order).bit_length() - 1
    left = _hadamard(0 if twelve else twos // 2)
    right = _hadamard(twos if twelve else twos - twos // 2)
    signs = np.where(bits == 0, -1.0, 1.0)
    return signs, _paley() if twelve else left, right


def _hadamard(power: int) -> NDArray[np.float64]:
    matrix = np.ones((1, 1))
    for _ in range(power):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _paley() -> NDArray[np.float64]:
    """The Hadamard matrix of order 12, out of the squares modulo 11."""
    squares = {n * n % 11 for n in range(1, 11)}
    matrix = np.eye(12)
    matrix[0, 1:], matrix[1:, 0] = 1, -1
    for row in range(11):
        for column in range(11):
            if row != column:
                matrix[row + 1, column + 1] = 1 if (column - row) % 11 in squares else -1
    return matrix
