"""The same jobs in the same order have the same results in PostgreSQL and in memory.

In PostgreSQL any of two workers does a job, and the indexes that they cache are lost, damaged or
aged between any two; in memory there is one index, the plainest that there can be.
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from bespoke_schemas import Payload, Result
from bespoke_schemas.memories import (
    Clear,
    Compact,
    Delete,
    FindSimilar,
    List,
    ListArchived,
    ListCompactions,
    NewMemory,
    Restore,
    Search,
    SetPolicy,
    Stats,
    Store,
    StoreMany,
    Update,
)
from bespoke_workers.memories import index, newcomers
from bespoke_workers.memories.in_memory import InMemoryStore, space
from bespoke_workers.memories.index import Hit
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.port import MemoryStore
from tests.integration.index_harm import HARM
from tests.integration.memory_workers import ANGLES, START, in_loop, worker

JOBS = 200
USER: dict[str, Any] = {"user_id": "ada"}
CONTENTS = [f"{topic} {angle}" for topic in "abcdefgh" for angle in range(0, 360, 15)]


class StandingClock:
    """A clock that both stores read, and that goes on between two jobs."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> Any:
        return self.now


class PlainIndex:
    """Vectors by memory, compared one by one: what a `UserIndex` should answer."""

    version = 0

    def __init__(self, ids: Sequence[UUID], vectors: ArrayLike, dim: int) -> None:
        self.dim = dim
        self._held: dict[UUID, NDArray[np.float64]] = {}

    def add(self, memory_id: UUID, vector: ArrayLike) -> None:
        self._held[memory_id] = self._rounded(vector)

    def remove(self, memory_ids: Iterable[UUID]) -> None:
        for memory_id in memory_ids:
            self._held.pop(memory_id, None)

    def similar(self, vector: ArrayLike, threshold: float) -> list[Hit]:
        query = self._rounded(vector)
        hits = [(one, self._cosine(held, query)) for one, held in self._held.items()]
        some = [hit for hit in hits if hit[1] >= threshold]
        return sorted(some, key=lambda hit: (hit[1], hit[0]), reverse=True)

    def similar_to_each(self, vectors: ArrayLike, threshold: float) -> list[list[Hit]]:
        return [self.similar(vector, threshold) for vector in np.asarray(vectors)]

    def nearest(self, vector: ArrayLike, k: int, accept: Callable[[UUID], bool]) -> list[Hit]:
        return [hit for hit in self.similar(vector, -np.inf) if accept(hit[0])][:k]

    @staticmethod
    def _rounded(vector: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(vector, dtype=np.float32).astype(np.float16).astype(np.float64)

    @staticmethod
    def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        return 1.0 if np.array_equal(one, other) else round(min(float(one @ other), 1.0), 6)


def jobs(chance: random.Random) -> Iterator[Payload[Any]]:
    """Draw jobs of one user, about memories stored before them."""
    stored: list[UUID] = []
    while True:
        drawn, whose = chance.random(), USER | {"id": an_id(chance)}
        if drawn < 0.46 or not stored:
            store = Store(**whose, content=chance.choice(CONTENTS), tags=two(chance))
            stored.append(store.id)
            yield store
        elif drawn < 0.5:
            many = StoreMany(**whose, memories=several(chance))
            stored += [newcomers.memory_id(many.id, place) for place in range(len(many.memories))]
            stored.append(many.id)
            yield many
        else:
            yield other(chance, stored, whose)


def other(chance: random.Random, stored: list[UUID], whose: dict[str, Any]) -> Payload[Any]:
    """Draw a job that is no store; ``stored`` are the ids of jobs and of memories."""
    one, content = whose | {"memory_id": chance.choice(stored)}, chance.choice(CONTENTS)
    run = whose | {"run_id": chance.choice(stored)}
    limits = {"max_memories": chance.choice([5, 12, 65]), "max_age_days": chance.choice([3, 20])}
    draws: dict[Callable[[], Payload[Any]], int] = {
        lambda: Search(**whose, query=content, limit=chance.randint(1, 20), threshold=-1): 26,
        lambda: FindSimilar(**one, threshold=-1): 6,
        lambda: Update(**one, content=chance.choice([None, content]), tags=two(chance)): 20,
        lambda: Delete(**one): 10,
        lambda: Restore(**chance.choice([one, run])): 20,
        lambda: Compact(**whose, force=chance.random() < 0.3): 8,
        lambda: Clear(**whose, tags=two(chance)): 3,
        lambda: SetPolicy(**whose, similarity_threshold=chance.choice([0.9, 0.95, 0.99])): 4,
        lambda: SetPolicy(**whose, eviction=chance.choice(["oldest", "redundant"])): 3,
        lambda: SetPolicy(**whose, **limits): 4,
    }
    (draw,) = chance.choices(list(draws), list(draws.values()))
    return draw()


def several(chance: random.Random) -> tuple[NewMemory, ...]:
    """Draw memories to be stored together, at times more than there may be."""
    texts = chance.choices(CONTENTS, k=chance.choice([1, 3, 8, 14]))
    return tuple(NewMemory(content=one, tags=two(chance)) for one in texts)


def an_id(chance: random.Random) -> UUID:
    """Draw an id: of equals, which comes first is decided by ids."""
    return UUID(int=chance.getrandbits(128))


def two(chance: random.Random) -> tuple[str, ...]:
    """Draw two tags."""
    return tuple(chance.sample("xyz", 2))


async def do(store: MemoryStore, payload: Payload[Any]) -> Result:
    words = payload.task.rpartition(".")[2]
    method: Callable[[Any], Awaitable[Result]] = getattr(store, words)
    return await method(payload)


async def state(store: MemoryStore) -> list[Result]:
    """Read all that there is of the user; within a moment, the archive has no order."""
    archived = await store.list_archived(ListArchived(user_id="ada", limit=1000))
    by_name = sorted(archived.archived, key=lambda one: one.model_dump_json())
    return [
        await store.list(List(user_id="ada", limit=1000)),
        await store.stats(Stats(user_id="ada")),
        await store.list_compactions(ListCompactions(user_id="ada")),
        *by_name,
    ]


@pytest.mark.parametrize("large", [20_000, 8])
@pytest.mark.parametrize("seed", [1, 2])
@in_loop
async def test_they_agree_on_every_result_whatever_becomes_of_indexes(
    database_url: str, seed: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "UserIndex", PlainIndex)
    monkeypatch.setattr(index, "SKETCH_ABOVE", large)
    chance, clock = random.Random(seed * large), StandingClock()
    policy = Policy(max_memories=chance.choice([12, 65]), max_age_days=3, dedup_guard=False)
    ours = InMemoryStore(ANGLES, policy, clock)
    async with (
        worker(database_url, policy, ANGLES, clock) as one,
        worker(database_url, policy, ANGLES, clock) as another,
    ):
        for number, payload in zip(range(JOBS), jobs(chance), strict=False):
            clock.now += timedelta(minutes=chance.randint(1, 120))
            theirs = chance.choice([one, another])
            if chance.random() < 0.3:
                chance.choice(HARM)(theirs)
            result = await do(theirs, payload)
            assert await do(ours, payload) == result, (number, payload.task)
            if number % 20 == 19:
                assert await state(ours) == await state(theirs), (number, payload.task)
