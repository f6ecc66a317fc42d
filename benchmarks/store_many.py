"""A memory stored among a hundred at once, against one stored by itself, in one process.

The embedder is a look into a table that is made beforehand, so that embedding takes no part.
"""

import asyncio
import logging
import random
import statistics
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench import Figure, servers
from bespoke_schemas.memories import NewMemory, Store, StoreMany
from bespoke_workers.database.engine import Database
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe import logging as our_logging

DIM = 384
AT_ONCE = 100
ROUNDS = 7
ASKED = 8.0
WORDS = 2_000
POLICY = Policy(max_memories=5_000)


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    our_logging.configure(logging.WARNING)  # Celery's own default
    with servers() as running:
        single, many = asyncio.run(_measured(running.postgres.url))
    yield Figure("store, in process", single * 1e3, "ms")
    yield Figure(f"store of {AT_ONCE}, per memory", many * 1e3, "ms")
    yield Figure("store / store of many, per memory", single / many, "x", ASKED)


async def _measured(url: str) -> tuple[float, float]:
    """Return the median seconds for each memory, singly and together, in turns."""
    texts = _texts(2 * ROUNDS * AT_ONCE + 2 * AT_ONCE)
    table = dict(zip(texts, _vectors(len(texts)), strict=True))
    embedder = Embedder("table", DIM, 0.95, lambda asked: np.stack([table[one] for one in asked]))
    database = Database(url, pool_size=2)
    memories = Memories(database, embedder, POLICY, IndexCache(2**28))
    left = iter(texts)
    singles: list[float] = []
    manys: list[float] = []
    for warm in range(ROUNDS + 1):
        some = [next(left) for _ in range(AT_ONCE)]
        stores = [Store(user_id="single", content=one) for one in some]
        started = time.perf_counter()
        for store in stores:
            await memories.store(store)
        singles.append((time.perf_counter() - started) / AT_ONCE)
        some = [next(left) for _ in range(AT_ONCE)]
        together = tuple(NewMemory(content=one) for one in some)
        payload = StoreMany(user_id="many", memories=together)
        started = time.perf_counter()
        stored = await memories.store_many(payload)
        manys.append((time.perf_counter() - started) / AT_ONCE)
        assert stored.count == AT_ONCE * (warm + 1)
    await database.close()
    return statistics.median(singles[1:]), statistics.median(manys[1:])


def _texts(count: int) -> list[str]:
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=6)) for _ in range(WORDS)]
    return [" ".join(chance.choices(words, k=9)) for _ in range(count)]


def _vectors(count: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(1).standard_normal((count, DIM)).astype(np.float32)
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths
