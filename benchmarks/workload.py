"""What users say in the benchmarks, and its embeddings, made up in microseconds.

The same text always has the same vector of 384, in every process. Nearly the same text (other
case) has nearly the same vector, a cosine of about 0.99 to it; other texts are unlike.
"""

import random
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

DIM = 384
NEAR_DUPLICATES = 0.05
NOISE = 0.1  # length of what tells a near-duplicate's vector from the other one's
WORD_LENGTH, WORDS = 6, 9

EMBEDDER = "benchmarks.workload:embed"


def stores(users: int, each: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yield (user, text) in turns, ``each`` per user; 5 % say again what the user said before."""
    chance = random.Random(seed)
    said: dict[int, list[str]] = {user: [] for user in range(users)}
    for _ in range(each):
        for user, texts in said.items():
            if texts and chance.random() < NEAR_DUPLICATES:
                yield f"user-{user}", chance.choice(texts).upper()
                continue
            texts.append(_text(chance))
            yield f"user-{user}", texts[-1]


def _text(chance: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(chance.choices(letters, k=WORD_LENGTH)) for _ in range(WORDS))


def embed(texts: list[str]) -> NDArray[np.float32]:
    """Return unit vectors of shape (len(texts), 384)."""
    return np.stack([_vector(text) for text in texts])


def _vector(text: str) -> NDArray[np.float32]:
    own = _direction(text.lower())
    if text != text.lower():
        own = own + NOISE * _direction(text)
    return own / np.float32(np.linalg.norm(own))


def _direction(text: str) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.SFC64(zlib.crc32(text.encode())))
    drawn = generator.standard_normal(DIM, dtype=np.float32)
    return drawn / np.float32(np.linalg.norm(drawn))
