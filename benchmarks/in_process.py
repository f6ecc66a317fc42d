"""Stores in one process, past the queue: the memories of a worker on a private server.

Embeddings are made beforehand, so that what is measured is Bespoke and its database.
"""

import asyncio
import logging
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import numpy as np
from numpy.typing import NDArray

from benchmarks.bench import Figure, servers
from bespoke_schemas import uuid7
from bespoke_schemas.memories import Store, Stored
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Delivery
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import to_bytes
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.space import NEVER
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe.logging import configure

DIM = 384
BASE = 1_000  # vectors that filled rows are given in turn
POLICY = Policy(max_memories=20_000)
CACHE_BYTES = 2**28


def unit_vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Return random unit vectors of shape (count, DIM), none like another."""
    drawn = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


FRESH = unit_vectors(20_000, seed=1)


def embed(texts: list[str]) -> NDArray[np.float32]:
    """Return the vector that was made for the number at each text's end."""
    return FRESH[[int(text.rsplit(" ", 1)[1]) % len(FRESH) for text in texts]]


EMBEDDER = Embedder("benchmarks.in_process:embed", DIM, 0.95, embed)


class Bench:
    """The memories of one process and, beside them, the table itself."""

    def __init__(
        self, database: Database, beside: asyncpg.Connection, policy: Policy, embedder: Embedder
    ) -> None:
        self.database = database
        self.beside = beside
        self.policy = policy
        self.embedder = embedder
        self.memories = Memories(database, embedder, policy, IndexCache(CACHE_BYTES))
        self._stored = 0

    async def fill(self, prefix: str, users: int, each: int) -> None:
        """Give users, named by a prefix and a number, so many memories each."""
        await self.beside.execute(
            """
            INSERT INTO memory_space (user_id, version, count, stored_total, oldest_created_at,
                relevance_check_at, embedder, dim, policy_digest)
            SELECT $1 || u, $3, $3, $3, now(), $4, $5, $6, $7 FROM generate_series(1, $2::int) AS u
            """,
            *(prefix, users, each, NEVER, self.embedder.name, DIM, self.policy.digest),
        )
        await self.beside.execute(
            """
            INSERT INTO memory (id, user_id, content, kind, facts, embedding, version,
                created_at, updated_at)
            SELECT gen_random_uuid(), $1 || u, 'remembers the thing number ' || n, 'fact', '',
                embedding, n, now() - make_interval(secs => $3 - n), now()
            FROM generate_series(1, $3::int) AS n CROSS JOIN generate_series(1, $2::int) AS u
            JOIN base ON base.number = n % $4::int
            """,
            *(prefix, users, each, BASE),
        )
        await self.beside.execute("VACUUM ANALYZE memory, memory_space")

    async def store(self, user_id: str) -> Stored:
        """Store one more memory, unlike all others."""
        self._stored += 1
        content = f"likes the thing {self._stored}"
        return await self.memories.store(Store(user_id=user_id, content=content))

    async def insert(self) -> None:
        """Insert one small row through the ORM and commit."""
        async with self.database.transaction() as session:
            now = datetime.now(UTC)
            session.add(Delivery(job_id=uuid7(), task="bench", redeliveries=0, last_at=now))


@asynccontextmanager
async def opened(url: str, policy: Policy, embedder: Embedder = EMBEDDER) -> AsyncIterator[Bench]:
    """Open a bench whose server has the vectors that filled rows are given.

    The embedder is one of vectors of DIM.
    """
    database = Database(url, pool_size=2)
    beside = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await beside.execute("CREATE TABLE base (number int PRIMARY KEY, embedding bytea)")
        rows = [(n, to_bytes(vector)) for n, vector in enumerate(unit_vectors(BASE, seed=2))]
        await beside.copy_records_to_table("base", records=rows)
        yield Bench(database, beside, policy, embedder)
    finally:
        await beside.close()
        await database.close()


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """Return how long one piece of work takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def ratio(
    one: Callable[[int], Awaitable[object]], other: Callable[[int], Awaitable[object]], rounds: int
) -> float:
    """Return the median time of one piece of work by that of another, done in turns.

    In turns, since a machine that is busy with something else is so for both.
    """
    spent: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        spent[0].append(await seconds(lambda n=number: one(n)))  # type: ignore[misc]  # mypy infers no default's type
        spent[1].append(await seconds(lambda n=number: other(n)))  # type: ignore[misc]  # see above
    return statistics.median(spent[0]) / statistics.median(spent[1])


def measured(
    work: Callable[[Bench], AsyncIterator[Figure]], policy: Policy = POLICY
) -> Iterator[Figure]:
    """Yield the figures that work on a bench of its own comes to."""

    async def run(url: str) -> list[Figure]:
        async with opened(url, policy) as bench:
            return [figure async for figure in work(bench)]

    configure(logging.WARNING)  # as a worker whose log is read by people
    with servers() as running:
        yield from asyncio.run(run(running.postgres.url))
