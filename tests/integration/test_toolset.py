"""Agents that use memories by tools: real ReAct, over every store, whatever loop calls them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import dspy
import pytest

import bespoke_workers
from bespoke_schemas.memories import List
from bespoke_schemas.toolset import ToolsetMisused
from bespoke_workers import settings
from bespoke_workers.database.portal import Portal
from bespoke_workers.memories import toolset
from bespoke_workers.memories.in_memory import InMemoryStore
from bespoke_workers.memories.port import MemoryStore
from tests.agents import Step, agent, observations, scripted
from tests.integration.memory_workers import in_loop, worker

OpenStore = Callable[[], AbstractAsyncContextManager[MemoryStore]]

REMEMBER: list[Step] = [
    ("store", {"content": "Prefers dark mode", "tags": ["ui"]}),
    ("store", {"content": "Has a black cat", "kind": "pet"}),
    ("count", {}),
    ("search", {"query": "which mode", "limit": 1}),
    ("update", {"memory_id": "#0", "content": "Prefers light mode since May"}),
    ("retrieve", {"memory_id": "#0"}),
    ("metadata", {"memory_id": "#0"}),
    ("list", {}),
    ("delete", {"memory_id": "#1"}),
    ("list", {"tags": ["ui"]}),
]
LOOK: list[Step] = [
    ("search", {"query": "dark mode"}),
    ("list", {}),
    ("count", {}),
    ("search", {"query": "dark mode", "user_id": "ada"}),
    ("clear", {}),
]
SCRIPTS = {"remember": REMEMBER, "look": LOOK}


@pytest.fixture(params=["postgresql", "in_memory"])
def opened(request: pytest.FixtureRequest) -> OpenStore:
    @asynccontextmanager
    async def in_memory() -> AsyncIterator[MemoryStore]:
        yield InMemoryStore()

    if request.param == "in_memory":
        return in_memory
    url = request.getfixturevalue("database_url")
    return lambda: worker(url)


@pytest.fixture
def talking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with scripted(monkeypatch, SCRIPTS):
        yield


def tools(user_id: str, store: MemoryStore) -> bespoke_workers.MemoryToolset:
    return bespoke_workers.MemoryToolset(user_id, store, loop=asyncio.get_running_loop())


@pytest.mark.usefixtures("talking")
@in_loop
async def test_an_agent_keeps_the_memories_of_its_user_alone(opened: OpenStore) -> None:
    async with opened() as store:
        ada = agent(tools("ada", store).async_tools)
        said = observations(await ada.acall(question="remember"))
        assert said[2] == "2 memories"
        assert '"content": "Prefers dark mode"' in said[3]
        assert said[4].startswith("updated: ")
        assert '"Prefers light mode since May"' in said[5]
        assert '"access_count": 1' in said[6]
        assert [line.split('"content": ')[1][:16] for line in said[7].splitlines()] == [
            '"Has a black cat',
            '"Prefers light m',
        ]
        assert said[8].startswith("deleted ")
        assert said[9].count("\n") == 0

        grace = agent(tools("grace", store).async_tools)
        found, listed, counted, stolen, cleared = observations(await grace.acall(question="look"))
        assert (found, listed, counted) == ("nothing found", "nothing here", "0 memories")
        assert "user_id" in stolen
        assert "dark" not in stolen
        assert cleared == "deleted 0 memories"
        left = await store.list(List(user_id="ada"))
        assert [memory.content for memory in left.memories] == ["Prefers light mode since May"]


@pytest.mark.usefixtures("talking")
@in_loop
async def test_an_agent_may_be_called_in_a_thread_of_a_task(opened: OpenStore) -> None:
    async with opened() as store:
        ada = agent(tools("ada", store).tools)
        prediction = await asyncio.to_thread(ada, question="remember")
        assert observations(prediction)[2] == "2 memories"
        assert "Prefers light mode" in prediction.answer


@in_loop
async def test_a_tool_says_so_where_it_would_wait_for_itself(opened: OpenStore) -> None:
    async with opened() as store:
        count, *_ = bespoke_workers.MemoryToolset(
            "ada", store, loop=asyncio.get_running_loop(), only=["count"]
        ).tools
        with pytest.raises(ToolsetMisused, match="async_tools"):
            count()


@pytest.mark.usefixtures("talking")
def test_sync_code_needs_no_loop_and_minds_none() -> None:
    store = InMemoryStore()
    said = observations(agent(bespoke_workers.MemoryToolset("ada", store).tools)(question="look"))
    assert said[2] == "0 memories"

    async def called_from_a_running_loop() -> dspy.Prediction:
        return agent(bespoke_workers.MemoryToolset("ada", store).tools)(question="remember")

    assert observations(asyncio.run(called_from_a_running_loop()))[2] == "2 memories"


@pytest.fixture
def own_portal(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    monkeypatch.setenv("BESPOKE_DATABASE_URL", database_url)
    own = Portal(settings.read)
    monkeypatch.setattr(toolset, "portal", lambda: own)
    yield own
    own.close()


@pytest.mark.usefixtures("talking", "own_portal")
def test_without_a_store_it_is_the_database_of_the_settings() -> None:
    ada = agent(bespoke_workers.MemoryToolset("ada").tools)
    assert observations(ada(question="remember"))[2] == "2 memories"
    grace = bespoke_workers.MemoryToolset("grace", only=["count"]).tools[0]
    assert grace() == "0 memories"


def test_a_loop_that_does_not_run_is_named() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    (count,) = bespoke_workers.MemoryToolset(
        "ada", InMemoryStore(), loop=loop, only=["count"]
    ).tools
    with pytest.raises(ToolsetMisused, match="does not run"):
        count()
