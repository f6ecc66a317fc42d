"""The same jobs in the same order have the same results in PostgreSQL and in memory."""

import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas import Payload, Result
from bespoke_schemas.memories import (
    Clear,
    Compact,
    Delete,
    FindSimilar,
    List,
    ListArchived,
    ListCompactions,
    Restore,
    Search,
    SetPolicy,
    Stats,
    Store,
    Update,
)
from bespoke_workers.memories.in_memory import InMemoryStore
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.port import MemoryStore
from tests.integration.memory_workers import ANGLES, START, in_loop, worker

JOBS = 120
POLICY = Policy(max_memories=12, max_age_days=3, dedup_guard=False)
CONTENTS = [f"{topic} {angle}" for topic in "abcdef" for angle in range(0, 90, 9)]


class StandingClock:
    """A clock that both stores read, and that goes on between two jobs."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> Any:
        return self.now


def jobs(chance: random.Random) -> Iterator[Payload[Any]]:
    """Draw jobs of one user, about memories stored before them."""
    stored: list[UUID] = []
    user: dict[str, Any] = {"user_id": "ada"}
    while True:
        content, tags = chance.choice(CONTENTS), tuple(chance.sample("xyz", 2))
        one = user | {"memory_id": chance.choice(stored)} if stored else user
        drawn = chance.random()
        if drawn < 0.5 or not stored:
            payload: Payload[Any] = Store(**user, content=content, tags=tags)
            stored.append(payload.id)
        elif drawn < 0.6:
            payload = Search(**user, query=content, limit=chance.randint(1, 4))
        elif drawn < 0.7:
            payload = Update(**one, content=chance.choice([None, content]), tags=tags)
        elif drawn < 0.76:
            payload = Delete(**one)
        elif drawn < 0.86:
            run = user | {"run_id": chance.choice(stored)}
            payload = Restore(**chance.choice([one, run]))
        elif drawn < 0.91:
            payload = Compact(**user, force=chance.random() < 0.2)
        elif drawn < 0.96:
            threshold = chance.choice([0.9, 0.95, 0.99])
            payload = SetPolicy(
                **user,
                similarity_threshold=threshold,
                eviction=chance.choice(["oldest", "redundant"]),
            )
        elif drawn < 0.98:
            payload = Clear(**user, tags=tags)
        else:
            payload = FindSimilar(**one, threshold=-1)
        yield payload


async def do(store: MemoryStore, payload: Payload[Any]) -> Result:
    method: Callable[[Any], Awaitable[Result]] = getattr(store, payload.task.rpartition(".")[2])
    return await method(payload)


async def state(store: MemoryStore) -> list[Result]:
    """Read all that there is of the user; within a moment, the archive has no order."""
    archived = await store.list_archived(ListArchived(user_id="ada", limit=1000))
    by_name = sorted(archived.archived, key=lambda one: one.model_dump_json())
    return [
        await store.list(List(user_id="ada")),
        await store.stats(Stats(user_id="ada")),
        await store.list_compactions(ListCompactions(user_id="ada")),
        *by_name,
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
@in_loop
async def test_they_agree_on_every_result(database_url: str, seed: int) -> None:
    chance, clock = random.Random(seed), StandingClock()
    ours = InMemoryStore(ANGLES, POLICY, clock)
    async with worker(database_url, POLICY, ANGLES, clock) as theirs:
        for number, payload in zip(range(JOBS), jobs(chance), strict=False):
            clock.now += timedelta(minutes=chance.randint(1, 120))
            result = await do(theirs, payload)
            assert await do(ours, payload) == result, (number, payload.task)
            if number % 10 == 9:
                assert await state(ours) == await state(theirs), (number, payload.task)
