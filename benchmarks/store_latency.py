"""One store in process: against an ORM insert, in a larger space, after a cold start."""

from collections.abc import AsyncIterator, Iterator

from benchmarks.bench import Figure
from benchmarks.in_process import Bench, measured, ratio

ROUNDS = 400
USERS = 10
COLD_ROUNDS = 60


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    yield from measured(_figures)


async def _figures(bench: Bench) -> AsyncIterator[Figure]:
    await bench.fill("small-", USERS, 100)
    await bench.fill("large-", 1, 10_000)
    await bench.fill("cold-", USERS, 1_000)
    users = [f"small-{number + 1}" for number in range(USERS)]
    for user in (*users * 3, "large-1", "large-1"):
        await bench.store(user)
        await bench.insert()

    async def warm(number: int) -> None:
        await bench.store(users[number % USERS])

    async def insert(_: int) -> None:
        await bench.insert()

    async def large(_: int) -> None:
        await bench.store("large-1")

    yield Figure("warm store / ORM insert, in process", await ratio(warm, insert, ROUNDS), "x")
    value = await ratio(large, warm, ROUNDS)
    yield Figure("store at 10,000 memories / at 100", value, "x", 1.5, at_most=True)
    yield Figure("cold store / warm store at 1,000", await _cold(bench), "x", 6, at_most=True)


async def _cold(bench: Bench) -> float:
    def user(number: int) -> str:
        return f"cold-{number % USERS + 1}"

    async def cold(number: int) -> None:
        bench.memories.indexes.drop(user(number))
        await bench.store(user(number))

    async def warm(number: int) -> None:
        await bench.store(user(number))

    return await ratio(cold, warm, COLD_ROUNDS)
