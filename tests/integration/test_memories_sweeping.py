"""Compaction that is asked for."""

import asyncio
from datetime import timedelta

import pytest

from bespoke_schemas.memories import Compact, Compaction, Count, Search, SetPolicy
from bespoke_workers.memories import sweeping
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe import events
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    Clock,
    assert_sound,
    contents,
    in_loop,
    query,
    remember,
    worker,
    workers,
)
from tests.integration.test_memories_compaction import fill, word

LOOSE = Policy(dedup_guard=False, similarity_threshold=0.99999)
"""Lets angles stand that count as duplicates by the embedder's own threshold."""


async def tighten(memories: Memories) -> None:
    """Make duplicates of angles up to 18 degrees apart, which were none when they were stored."""
    await memories.set_policy(SetPolicy(user_id="ada", similarity_threshold=0.95))


@in_loop
async def test_without_a_trigger_nothing_goes(database_url: str) -> None:
    async with worker(database_url) as memories:
        assert await memories.compact(Compact(user_id="ada")) == Compaction()
        await fill(memories, 5)
        before = await query(database_url, "SELECT * FROM memory_space")
        assert await memories.compact(Compact(user_id="ada")) == Compaction()
        assert await query(database_url, "SELECT * FROM memory_space") == before
    assert await query(database_url, "SELECT 1 FROM compaction_run") == []


@in_loop
async def test_duplicates_by_a_new_threshold_are_merged(database_url: str) -> None:
    async with worker(database_url, LOOSE, ANGLES) as memories:
        for content, tag in (("a 0", "x"), ("a 15", "y"), ("a 30", "z"), ("b 0", "b")):
            await remember(memories, "ada", content, tag)
        for angle in (15, 15, 30):
            await memories.search(Search(user_id="ada", query=f"a {angle}", limit=1))
        await tighten(memories)
        payload = Compact(user_id="ada")
        report = await memories.compact(payload)
        assert report.deduplication is not None
        assert report.deduplication.model_dump() == {
            "removed_count": 2,
            "before_count": 4,
            "after_count": 2,
            "trigger": "duplicates_found",
        }
        assert report.total_compacted == 2
        assert (report.size_compaction, report.age_compaction, report.relevance_pruning) == (
            None,
            None,
            None,
        )
        kept = await query(database_url, "SELECT * FROM memory WHERE content = 'a 15'")
        assert [(row.access_count, sorted(row.tags)) for row in kept] == [(3, ["x", "y", "z"])]
        assert kept[0].last_accessed_at is not None
        gone = await query(database_url, "SELECT * FROM memory_archive")
        assert {row.content for row in gone} == {"a 0", "a 30"}
        assert {(row.reason, row.kept_id, row.run_id) for row in gone} == {
            ("deduplication", kept[0].id, payload.id)
        }
        assert [round(row.similarity, 3) for row in gone] == [0.966, 0.966]
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 0
        found = await memories.search(Search(user_id="ada", query="a 0", limit=1))
        assert found.matches[0].memory.content == "a 15"
        assert await contents(database_url, "ada") == {"a 15", "b 0"}
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)


@in_loop
async def test_the_ends_of_a_chain_stay_apart(database_url: str) -> None:
    async with worker(database_url, LOOSE, ANGLES) as memories:
        for angle in (0, 15, 30):
            await remember(memories, "ada", f"a {angle}")
        await tighten(memories)
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 1
    assert await contents(database_url, "ada") == {"a 0", "a 30"}


@in_loop
async def test_what_differs_in_its_facts_is_kept_apart(database_url: str) -> None:
    async with worker(database_url) as memories:
        for hour in (6, 7):
            await remember(memories, "ada", f"Wakes up at {hour} am on every day of the week")
        await memories.set_policy(SetPolicy(user_id="ada", similarity_threshold=0.3))
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 0
        await memories.set_policy(SetPolicy(user_id="ada", dedup_guard=False))
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 1


@in_loop
async def test_a_larger_space_is_held_against_its_newest(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "PROBES", 3)
    async with worker(database_url, LOOSE, ANGLES) as memories:
        for content in ("a 0", "a 10", "b 0", "c 0", "d 0", "b 10", "e 0"):
            await remember(memories, "ada", content)
        for content in ("b 0", "b 0"):
            await memories.search(Search(user_id="ada", query=content, limit=1))
        await tighten(memories)
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 1
    assert await contents(database_url, "ada") == {"a 0", "a 10", "b 0", "c 0", "d 0", "e 0"}


@in_loop
async def test_a_lower_limit_and_a_shorter_age_count(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, clock=clock) as memories:
        await fill(memories, 10)
        clock.now += timedelta(days=10)
        await fill(memories, 20, start=10)
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=25, max_age_days=9))
        report = await memories.compact(Compact(user_id="ada"))
        assert report.size_compaction is not None
        assert report.size_compaction.removed_count == 10  # the ten oldest: none is left for age
        assert report.age_compaction is None
        clock.now += timedelta(days=9)
        report = await memories.compact(Compact(user_id="ada"))
        assert report.age_compaction is not None
        assert report.age_compaction.removed_count == 20
        assert (await memories.count(Count(user_id="ada"))).count == 0
        assert (await remember(memories, "ada", word(99))).count == 1
    await assert_sound(database_url, "ada")


@in_loop
async def test_force_runs_all_four(database_url: str) -> None:
    told: list[events.Event] = []
    end = events.subscribe("dspy.memory.compaction_complete", told.append)
    async with worker(database_url, Policy(max_memories=40)) as memories:
        await fill(memories, 36)
        await memories.search(Search(user_id="ada", query=word(0), limit=1))
        report = await memories.compact(Compact(user_id="ada", force=True))
        strategies = (
            report.size_compaction,
            report.age_compaction,
            report.deduplication,
            report.relevance_pruning,
        )
        assert [None if one is None else one.removed_count for one in strategies] == [4, 0, 0, 6]
        assert {one.trigger for one in strategies if one} == {"forced"}
        assert report.total_compacted == 10
        assert word(0) in await contents(database_url, "ada")
        await remember(memories, "ada", word(99))
        await assert_sound(database_url, "ada")
    end()
    assert [(one["removed_count"], one["after_count"]) for one in told] == [(10, 26)]


@in_loop
async def test_a_repeated_delivery_compacts_nothing_again(database_url: str) -> None:
    async with workers(database_url, 2) as (one, other):
        await fill(one, 30)
        await fill_other(other)
        payload = Compact(user_id="ada", force=True)
        await one.set_policy(SetPolicy(user_id="ada", max_memories=30))
        first, second = await asyncio.gather(one.compact(payload), other.compact(payload))
        assert first == second == await one.compact(payload)
        assert first.total_compacted == 6
        assert (await one.count(Count(user_id="grace"))).count == 1
        # Both workers see what is left: one has compacted, the other has to follow.
        for memories in (one, other):
            found = await memories.search(
                Search(user_id="ada", query=word(0), limit=50, threshold=-1)
            )
            assert len(found.matches) == 24
    await assert_sound(database_url, "ada")


async def fill_other(memories: Memories) -> None:
    """Store something for another user, which must stay."""
    await remember(memories, "grace", word(0))
