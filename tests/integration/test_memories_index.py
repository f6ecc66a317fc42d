"""Indexes are caches: losing, damaging or ageing one changes no answer.

At any moment of a long course of jobs: `test_memory_stores_agree`.
"""

from collections.abc import Callable

import numpy as np
import pytest

from bespoke_schemas.memories import Search
from bespoke_workers.memories import loading
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
from tests.integration.index_harm import HARM
from tests.integration.memory_workers import (
    ANGLES,
    assert_sound,
    in_loop,
    query,
    remember,
    worker,
)


@pytest.mark.parametrize("harm", HARM)
@in_loop
async def test_a_harmed_index_finds_the_same(
    database_url: str, harm: Callable[[Memories], None]
) -> None:
    policy = Policy(dedup_guard=False)
    async with worker(database_url, policy, ANGLES) as memories:
        first, *_ = [await remember(memories, "ada", f"{topic} 0") for topic in "abcd"]
        harm(memories)
        merged = await remember(memories, "ada", "a 5")
        assert merged.merged_with == first.memory_id
        harm(memories)
        found = await memories.search(Search(user_id="ada", query="a 0", limit=2))
        assert found.matches[0].memory.id == merged.memory_id
        assert found.matches[0].similarity == pytest.approx(np.cos(np.radians(5)), abs=1e-3)
        harm(memories)
        stored = await remember(memories, "ada", "e 0")
        assert (stored.outcome, stored.count) == ("inserted", 5)
        await assert_sound(database_url, "ada", policy, ANGLES)


@in_loop
async def test_an_index_is_loaded_anew_below_the_version_that_the_list_reaches(
    database_url: str,
) -> None:
    async with worker(database_url) as memories, worker(database_url) as elsewhere:
        first = await remember(memories, "ada", "Prefers dark mode")
        await remember(elsewhere, "ada", "prefers dark mode")
        await query(database_url, "DELETE FROM memory_archive")
        await query(database_url, "UPDATE memory_space SET reload_below = version")
        found = await memories.search(Search(user_id="ada", query="dark mode"))
        assert [match.memory.id == first.memory_id for match in found.matches] == [False]


@in_loop
async def test_an_index_is_loaded_in_pages(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PAGE", 3)
    async with worker(database_url, Policy(dedup_guard=False), ANGLES) as memories:
        for topic in "abcdefgh":
            await remember(memories, "ada", f"{topic} 0")
        memories.indexes.clear()
        found = await memories.search(Search(user_id="ada", query="h 0", threshold=-1))
        assert len(found.matches) == 8
        assert found.matches[0].memory.content == "h 0"
