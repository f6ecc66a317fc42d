"""Every job of the memories, from the client through the queue to a real worker and back."""

import pytest

from bespoke_client import Client, MemoryToolset, memories
from tests.agents import agent, observations, scripted
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS


def test_memories_are_read_found_changed_and_removed(
    client: Client, start_worker: StartWorker
) -> None:
    start_worker("memories,reads")
    cat, tea = (
        client.enqueue(memories.Store(user_id="ada", content=content, kind=kind))
        .result(SECONDS)
        .memory_id
        for content, kind in (("Has a black cat", "pet"), ("Likes green tea", "taste"))
    )
    got = client.enqueue(memories.Get(user_id="ada", memory_id=cat)).result(SECONDS).memory
    assert got is not None
    assert (got.content, got.kind) == ("Has a black cat", "pet")
    search = memories.Search(user_id="ada", query="a cat", kind="pet", text="BLACK")
    (match,) = client.enqueue(search).result(SECONDS).matches
    assert (match.memory.id, match.memory.access_count) == (cat, 1)
    alike = memories.FindSimilar(user_id="ada", content="a black cat", threshold=0.3)
    (match,) = client.enqueue(alike).result(SECONDS).matches
    assert (match.memory.id, match.memory.access_count) == (cat, 1)

    update = memories.Update(user_id="ada", memory_id=tea, content="Likes black tea")
    updated = client.enqueue(update).result(SECONDS)
    assert updated.memory is not None
    assert (updated.memory.content, updated.memory.kind) == ("Likes black tea", "taste")

    delete = memories.Delete(user_id="ada", memory_id=cat)
    assert [client.enqueue(delete).result(SECONDS).deleted for _ in range(2)] == [True, True]
    missing = client.enqueue(memories.Get(user_id="ada", memory_id=cat))
    assert missing.result(SECONDS).memory is None
    stats = client.enqueue(memories.Stats(user_id="ada")).result(SECONDS)
    assert (stats.count, stats.by_kind, stats.archived_count) == (1, {"taste": 1}, 2)
    cleared = client.enqueue(memories.Clear(user_id="ada", kind="taste"))
    assert cleared.result(SECONDS).removed_count == 1
    gone = client.enqueue(memories.Get(user_id="ada", memory_id=tea)).result(SECONDS)
    assert gone.memory is None


def test_an_agent_uses_memories_through_the_queue(
    client: Client, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_worker("memories,reads")
    ada, grace = (MemoryToolset(user_id, client, timeout=SECONDS) for user_id in ("ada", "grace"))
    remember = [
        ("store", {"content": "Prefers dark mode"}),
        ("update", {"memory_id": "#0", "content": "Prefers light mode"}),
        ("search", {"query": "which mode"}),
    ]
    with scripted(monkeypatch, {"remember": remember, "look": [("list", {})]}):
        said = observations(agent(ada.tools)(question="remember"))
        assert '"Prefers light mode"' in said[2]
        assert observations(agent(grace.tools)(question="look")) == ["nothing here"]
