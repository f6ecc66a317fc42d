"""What a worker of memories takes, with many users' indexes, against what it may take at most.

A worker process as `bespoke worker -P solo` runs it, with the default embedder, stores for users
whose indexes it has to load: first all of them fit into its cache, then few do, so that nearly
each store drops some and loads another, of the same size or of mixed sizes.
"""

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Sequence

import psutil

from benchmarks.bench import Figure, Servers, servers
from benchmarks.in_process import opened
from bespoke_client import Client, memories
from bespoke_workers.memories.embedding import load_embedder
from bespoke_workers.memories.policy import Policy
from bespoke_workers.observe.logging import configure

USERS = 1_000
EACH = 1_000
MIXED = (10, 100, 300, 1_000, 3_000, 10_000)
"""Memories of users of mixed sizes, so many of each."""
MIXED_USERS = 20
MAX_MEMORIES = 20_000
BASE_MIB = 192
"""What a process takes beside its cache; docs/settings.md says so."""
ROOMY_MIB, TIGHT_MIB = 1_600, 64
ROUNDS = 3
PATIENCE = 300.0  # seconds
LOOK_SECONDS = 0.05
MIB = 2**20

ALIKE = [f"alike-{number}" for number in range(1, USERS + 1)]
DIFFERENT = [f"of-{each}-{number}" for each in MIXED for number in range(1, MIXED_USERS + 1)]


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    configure(logging.WARNING)
    with servers() as running:
        asyncio.run(_fill(running.postgres.url))
        yield from _figures(running, f"all of {USERS:,} users cached", ROOMY_MIB, ALIKE)
        yield from _figures(running, f"few of {USERS:,} users cached", TIGHT_MIB, ALIKE)
        mixed = random.Random(0).choices(DIFFERENT, k=USERS)
        yield from _figures(running, "few of mixed sizes cached", TIGHT_MIB, mixed)


async def _fill(url: str) -> None:
    policy = Policy(max_memories=MAX_MEMORIES)
    async with opened(url, policy, load_embedder(None)) as bench:
        await bench.fill("alike-", USERS, EACH)
        for each in MIXED:
            await bench.fill(f"of-{each}-", MIXED_USERS, each)


def _figures(running: Servers, name: str, cache_mib: int, users: Sequence[str]) -> Iterator[Figure]:
    settings = {
        "BESPOKE_INDEX_CACHE_MIB": str(cache_mib),
        "BESPOKE_MAX_MEMORIES": str(MAX_MEMORIES),
    }
    with running.ready(running.worker("memories", **settings)) as (worker,):
        process = psutil.Process(worker.pid)
        alone = _stores(running, process, users[:1])
        most = max(_stores(running, process, users) for _ in range(ROUNDS))
    bound = BASE_MIB + cache_mib
    yield Figure(f"worker with one index ({name})", alone / MIB, "MiB")
    yield Figure(f"worker, {name}", most / MIB, "MiB")
    yield Figure(f"worker / its bound, {name}", most / MIB / bound, "x", 1.0, at_most=True)


def _stores(running: Servers, process: psutil.Process, users: Sequence[str]) -> int:
    """Store something for each of some users; return the most bytes that it took."""
    done = running.count("SELECT count(*) FROM job") + len(users)
    with Client(running.redis.url) as client:
        client.enqueue_many(
            memories.Store(user_id=user, content=f"likes the thing {done} {number}")
            for number, user in enumerate(users)
        )
    deadline, most = time.monotonic() + PATIENCE, 0
    while running.count("SELECT count(*) FROM job") < done:
        assert time.monotonic() < deadline, "the stores are not done in time"
        most = max(most, process.memory_info().rss)
        time.sleep(LOOK_SECONDS)
    return max(most, process.memory_info().rss)
