"""What inline compaction takes of the time of stores, for a user who hovers at the limit."""

import statistics
import time
from collections.abc import AsyncIterator, Iterator

from benchmarks.bench import Figure
from benchmarks.in_process import Bench, measured
from bespoke_workers.memories.policy import Policy

LIMIT = 1_000
COMPACTIONS = 24  # PostgreSQL plans a statement anew until its sixth time
BETWEEN = 199  # stores without one, from 801 memories up to the limit


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    yield from measured(_figures, Policy(max_memories=LIMIT))


async def _figures(bench: Bench) -> AsyncIterator[Figure]:
    await bench.fill("ada-", 1, LIMIT)
    compacting, others = list[float](), list[float]()
    while len(compacting) <= COMPACTIONS:
        started = time.perf_counter()
        stored = await bench.store("ada-1")
        spent = time.perf_counter() - started
        (compacting if stored.compaction.total_compacted else others).append(spent)
    usual = statistics.median(others)
    more = statistics.median(compacting[1:]) - usual  # the first one warms up
    share = more / (more + (BETWEEN + 1) * usual)
    yield Figure("compaction's share of stores", 100 * share, "%", 3, at_most=True)
    yield Figure("a store that compacts / one that does not", more / usual + 1, "x")
