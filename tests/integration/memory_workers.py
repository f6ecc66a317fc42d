"""Memories as worker processes have them, for tests: engines, caches and clocks of their own."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from bespoke_schemas.memories import Store, Stored
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Misconfigured
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder, load_embedder
from bespoke_workers.memories.index import from_bytes
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.port import MemoryStore
from bespoke_workers.memories.store import Memories
from bespoke_workers.outbox import Outbox

P = ParamSpec("P")
CACHE_BYTES = 2**24
START = datetime(2026, 1, 1, tzinfo=UTC)
LEXICAL = load_embedder(None)


def in_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def whole() -> None:
            await test(*args, **kwargs)

        asyncio.run(whole())

    return run


class Clock:
    """A clock that goes on by a second whenever it is read, and by days when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def angles(texts: list[str]) -> NDArray[np.float64]:
    """Embed "topic angle" into the topic's own plane, so that a cosine is a difference of angles.

    Two topics are unlike each other. Angles are in degrees; 16 topics, from a to p.
    """
    vectors = np.zeros((len(texts), 32))
    for vector, content in zip(vectors, texts, strict=True):
        topic, angle = content.split(" ")
        plane = 2 * (ord(topic) - ord("a"))
        vector[plane : plane + 2] = (
            np.cos(np.radians(float(angle))),
            np.sin(np.radians(float(angle))),
        )
    return vectors


ANGLES = Embedder("angles", 32, 0.95, angles)
"""At its threshold, two angles are duplicates up to 18 degrees apart."""
ANGLES_POLICY = Policy(dedup_guard=False)


def installed(name: str) -> Embedder:
    """Load an embedder by its name; all but two are gone."""
    found = {one.name: one for one in (LEXICAL, ANGLES)}.get(name)
    if found is None:
        raise Misconfigured(f"embedder {name!r}: cannot import it")
    return found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Open the engine of one worker."""
    database = Database(url, pool_size=10)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def worker(
    url: str,
    policy: Policy | Defaults = DEFAULT,
    embedder: Embedder = LEXICAL,
    clock: Callable[[], datetime] | None = None,
    outbox: Outbox | None = None,
    load_older: Callable[[str], Embedder] = installed,
    age_s: float = 0.0,
) -> AsyncIterator[Memories]:
    """Start what one worker process has, as if it had been started ``age_s`` seconds ago."""
    started = time.monotonic()
    async with opened(url) as database:
        yield Memories(
            database,
            embedder,
            policy,
            IndexCache(CACHE_BYTES),
            clock or Clock(),
            load_older=load_older,
            outbox=outbox,
            running_s=lambda: time.monotonic() - started + age_s,
        )


@asynccontextmanager
async def workers(url: str, count: int, policy: Policy = DEFAULT) -> AsyncIterator[list[Memories]]:
    """Start several at once, each with an engine and a cache of its own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(worker(url, policy)) for _ in range(count)]


async def remember(memories: MemoryStore, user_id: str, content: str, *tags: str) -> Stored:
    """Store a text."""
    return await memories.store(Store(user_id=user_id, content=content, tags=tags))


async def query(url: str, sql: str, **parameters: Any) -> list[Any]:
    """Run one statement beside the workers, and return its rows."""
    async with opened(url) as database, database.autocommit() as connection:
        result = await connection.execute(text(sql), parameters)
        # A SELECT of no columns answers nothing, however many rows there are.
        assert result.returns_rows or not sql.lstrip().startswith("SELECT"), sql
        return list(result.all()) if result.returns_rows else []


async def contents(url: str, user_id: str) -> set[str]:
    """Return what is remembered of a user."""
    found = await query(url, "SELECT content FROM memory WHERE user_id = :user", user=user_id)
    return {row.content for row in found}


async def assert_sound(
    url: str, user_id: str, policy: Policy = DEFAULT, embedder: Embedder = LEXICAL
) -> None:
    """Check what always holds of one user's memories (DESIGN §3)."""
    rows = await query(url, "SELECT * FROM memory WHERE user_id = :user", user=user_id)
    (space,) = await query(url, "SELECT * FROM memory_space WHERE user_id = :user", user=user_id)
    assert space.count == len(rows) <= policy.max_memories
    assert space.most_accessed == max(row.access_count for row in rows)
    assert space.oldest_created_at <= min(age_from(row) for row in rows)
    assert max(row.version for row in rows) <= space.version
    assert_distinct(rows, policy, embedder)
    await assert_accounted_for(url, user_id)


def age_from(row: Any) -> datetime:
    """Return from when a memory's age counts; the clocks of two workers may differ."""
    moments: list[datetime | None] = [row.created_at, row.renewed_at]
    return max(moment for moment in moments if moment)


def assert_distinct(rows: list[Any], policy: Policy, embedder: Embedder) -> None:
    """Check that no two memories count as duplicates."""
    vectors = [from_bytes(row.embedding, embedder.dim).astype(np.float32) for row in rows]
    for i, one in enumerate(rows):
        for j, other in enumerate(rows[:i]):
            agrees = not policy.dedup_guard or one.facts == other.facts
            alike = vectors[i] @ vectors[j] >= policy.threshold(embedder.threshold)
            assert not (agrees and alike), (one.id, other.id)


async def assert_accounted_for(url: str, user_id: str) -> None:
    """Check that each store that took effect is remembered or archived, once, and no other is."""
    jobs = await query(
        url,
        "SELECT id FROM job WHERE user_id = :user AND task = 'bespoke.memories.store'",
        user=user_id,
    )
    held = await query(
        url,
        "SELECT id FROM memory WHERE user_id = :user UNION ALL "
        "SELECT memory_id FROM memory_archive WHERE user_id = :user AND reason <> 'updated'",
        user=user_id,
    )
    assert sorted(row.id for row in held) == sorted(row.id for row in jobs)
