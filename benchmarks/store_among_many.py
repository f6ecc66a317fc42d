"""One store with 1,000,000 memories of everybody in the table, against one with 10,000."""

import statistics
from collections.abc import AsyncIterator, Iterator

from benchmarks.bench import Figure
from benchmarks.in_process import Bench, measured, seconds

ROWS = 1_000_000
EACH = 1_000
USERS = 20
ROUNDS = 400


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    yield from measured(_figures)


async def _figures(bench: Bench) -> AsyncIterator[Figure]:
    await bench.fill("others-", 8, EACH)
    few = await _relative(bench, "few-")
    await bench.fill("more-", ROWS // EACH - 8, EACH)
    many = await _relative(bench, "many-")
    yield Figure("store among 1,000,000 / among 10,000", many / few, "x", 1.2, at_most=True)


async def _relative(bench: Bench, prefix: str) -> float:
    """Return the median of a store by that of an insert at the time, for users with 100 each.

    The two tables are minutes apart; what else the machine did then slows both alike.
    """
    await bench.fill(prefix, USERS, 100)
    stores, inserts = [], []
    for number in range(-3 * USERS, ROUNDS):
        user = f"{prefix}{number % USERS + 1}"
        store = await seconds(lambda user=user: bench.store(user))  # type: ignore[misc]  # mypy infers no default's type
        insert = await seconds(bench.insert)
        if number >= 0:
            stores.append(store)
            inserts.append(insert)
    return statistics.median(stores) / statistics.median(inserts)
