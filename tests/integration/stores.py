"""Stores of memories of every kind, for the tests that hold for each of them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import pytest

from bespoke_schemas.memories import Get, List, ListArchived, Memory, Search
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.in_memory import InMemoryStore
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.port import MemoryStore
from tests.integration.memory_workers import LEXICAL, Clock, worker

Opened = AbstractAsyncContextManager[MemoryStore]


class Open(Protocol):
    """The signature of the fixture `opened`."""

    def __call__(
        self,
        policy: Policy = DEFAULT,
        embedder: Embedder = LEXICAL,
        clock: Callable[[], datetime] | None = None,
    ) -> Opened: ...


@asynccontextmanager
async def in_memory(
    policy: Policy = DEFAULT,
    embedder: Embedder = LEXICAL,
    clock: Callable[[], datetime] | None = None,
) -> Any:
    yield InMemoryStore(embedder, policy, clock or Clock())


@pytest.fixture(params=["postgresql", "in_memory"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Open a store of either kind."""
    if request.param == "in_memory":
        return in_memory
    return partial(worker, request.getfixturevalue("database_url"))


SMALL = Policy(max_memories=20)


async def held(store: MemoryStore, user_id: str = "ada") -> list[str]:
    listed = await store.list(List(user_id=user_id))
    return [one.content for one in listed.memories]


async def read(store: MemoryStore, memory_id: UUID) -> Memory:
    memory = (await store.get(Get(user_id="ada", memory_id=memory_id))).memory
    assert memory is not None
    return memory


async def access(store: MemoryStore, content: str, times: int = 1) -> None:
    for _ in range(times):
        await store.search(Search(user_id="ada", query=content, limit=1))


async def reasons(store: MemoryStore) -> dict[str, str]:
    listed = await store.list_archived(ListArchived(user_id="ada"))
    return {one.memory.content: one.reason for one in listed.archived}
