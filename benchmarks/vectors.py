"""An embedder that costs next to nothing, so that storing alone is measured."""

import zlib

import numpy as np
from numpy.typing import NDArray

DIM = 384
ROWS = 4_096
TABLE = np.random.default_rng(7).standard_normal((ROWS, DIM), dtype=np.float32)


def embed(texts: list[str]) -> NDArray[np.float32]:
    """Return vectors of shape (n, 384): equal for equal texts, and far apart for others."""
    return np.stack([_picked(text.encode()) for text in texts])


def _picked(text: bytes) -> NDArray[np.float32]:
    first, second = zlib.crc32(text) % ROWS, zlib.adler32(text) % ROWS
    vector: NDArray[np.float32] = TABLE[first] + TABLE[(first + 1 + second) % ROWS]
    return vector
