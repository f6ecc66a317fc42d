"""Stores of memories of every kind, for the tests that hold for each of them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import pytest

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
