"""Searches and looks whose space changes between two of their statements.

Each statement sees what is committed by then: what they come to is of one version, or begins anew.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bespoke_schemas.memories import FindSimilar, Search
from bespoke_workers.memories.loading import Loaded, Loader
from tests.integration.memory_workers import ANGLES, ANGLES_POLICY, in_loop, remember, worker
from tests.integration.optimizing import RecordingOutbox
from tests.integration.test_memories_inspecting import texts
from tests.integration.test_memories_reembedding import Wide, embedder_of, new, old


def once_loaded(monkeypatch: pytest.MonkeyPatch, change: Callable[[], Awaitable[Any]]) -> None:
    """Have another worker change something once, when an index has just been loaded."""
    load, changes = Loader.load, [change]

    async def load_and_change(*args: Any) -> Loaded | None:
        loaded = await load(*args)
        if changes:
            await changes.pop()()
        return loaded

    monkeypatch.setattr(Loader, "load", load_and_change)


@in_loop
async def test_what_takes_a_duplicates_place_meanwhile_is_found_by_its_tag(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        worker(database_url, ANGLES_POLICY, ANGLES) as memories,
        worker(database_url, ANGLES_POLICY, ANGLES) as other,
    ):
        await remember(memories, "ada", "a 0", "ui")
        once_loaded(monkeypatch, lambda: remember(other, "ada", "a 1"))
        search = Search(user_id="ada", query="a 0", tags=("ui",))
        assert texts(await memories.search(search)) == ["a 1"]
        untagged = search.model_copy(update={"tags": ("none",)})
        assert texts(await memories.search(untagged)) == []


@in_loop
async def test_similar_ones_are_found_while_the_embedder_changes(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = Wide()
    async with old(database_url, wide) as before, new(database_url, wide, RecordingOutbox()) as to:
        stored = await remember(before, "ada", "a 0")
        await remember(before, "ada", "a 20")
        once_loaded(monkeypatch, to.reembed)
        sought = FindSimilar(user_id="ada", memory_id=stored.memory_id, threshold=0.9)
        assert texts(await before.find_similar(sought)) == ["a 20"]
        assert await embedder_of(database_url) == wide.embedder.kind
