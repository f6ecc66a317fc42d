"""The record of compactions, the archive, and what comes back from it."""

import asyncio
from datetime import timedelta
from uuid import UUID

from bespoke_schemas.memories import (
    Compact,
    Count,
    ListArchived,
    ListCompactions,
    Restore,
    Restored,
    Search,
    SetPolicy,
    Skipped,
)
from bespoke_workers.memories.policy import Policy
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
from tests.integration.test_memories_compaction import SMALL, fill, word


@in_loop
async def test_compactions_are_listed_newest_first(database_url: str) -> None:
    async with worker(database_url, SMALL) as memories:
        reports = [stored.compaction for stored in await fill(memories, 26)]
        listed = await memories.list_compactions(ListCompactions(user_id="ada"))
        assert listed.total == 2
        assert [run.report for run in listed.runs] == [reports[25], reports[20]]
        assert listed.runs[0].at > listed.runs[1].at
        page = await memories.list_compactions(ListCompactions(user_id="ada", limit=1, offset=1))
        assert (page.total, page.runs) == (2, listed.runs[1:])
        other = await memories.list_compactions(ListCompactions(user_id="grace"))
        assert (other.total, other.runs) == (0, ())


@in_loop
async def test_the_archive_lists_what_went_and_why(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        old = await remember(memories, "ada", "a 0", "x")
        new = await remember(memories, "ada", "a 5", "y")
        (one,) = (await memories.list_archived(ListArchived(user_id="ada"))).archived
        assert (one.memory.id, one.memory.content) == (old.memory_id, "a 0")
        assert one.memory.tags == ("x",)
        assert one.memory.last_accessed_at is None
        assert (one.reason, one.kept_id, one.run_id) == (
            "duplicate",
            new.memory_id,
            new.memory_id,  # a memory takes the id of the job that stored it
        )
        assert one.similarity == new.similarity
        assert one.removed_at == one.memory.created_at + timedelta(seconds=1)
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=1))
        await remember(memories, "ada", "b 0")
        listed = await memories.list_archived(ListArchived(user_id="ada"))
        assert (listed.total, [each.reason for each in listed.archived]) == (
            2,
            ["size", "duplicate"],
        )
        page = await memories.list_archived(ListArchived(user_id="ada", run_id=one.run_id, limit=1))
        assert (page.total, page.archived) == (1, (one,))
        assert (await memories.list_archived(ListArchived(user_id="grace"))).total == 0


@in_loop
async def test_what_size_removed_comes_back_and_stays(database_url: str) -> None:
    async with workers(database_url, 2, SMALL) as (one, other):
        last = (await fill(one, 21))[-1]
        await fill(other, 1, start=50)  # knows what was removed
        restored = await one.restore(Restore(user_id="ada", run_id=last.memory_id))
        assert (restored.restored_count, len(restored.skipped)) == (3, 2)
        assert {skipped.reason for skipped in restored.skipped} == {"full"}
        back = {word(number) for number in (2, 3, 4)}  # those touched last
        assert back <= await contents(database_url, "ada")
        await assert_sound(database_url, "ada", SMALL)
        stored = await remember(other, "ada", word(60))
        assert (stored.count, stored.compaction.total_compacted) == (16, 5)
        assert back <= await contents(database_url, "ada")
        found = await other.search(Search(user_id="ada", query=word(3), limit=1))
        assert found.matches[0].memory.content == word(3)
        await assert_sound(database_url, "ada", SMALL)


@in_loop
async def test_what_age_removed_is_young_again(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, Policy(max_age_days=30), clock=clock) as memories:
        await fill(memories, 2)
        clock.now += timedelta(days=31)
        gone = await remember(memories, "ada", word(2))
        assert gone.compaction.total_compacted == 2
        restored = await memories.restore(Restore(user_id="ada", run_id=gone.memory_id))
        assert restored == Restored(restored_count=2)
        clock.now += timedelta(days=29)
        assert (await remember(memories, "ada", word(3))).count == 4
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 0
        await assert_sound(database_url, "ada")
        clock.now += timedelta(days=2)
        assert (await remember(memories, "ada", word(4))).count == 2


@in_loop
async def test_what_relevance_removed_is_not_pruned_at_once(database_url: str) -> None:
    async with worker(database_url) as memories:
        await fill(memories, 49)
        await memories.search(Search(user_id="ada", query=word(0), limit=1))
        pruned = await remember(memories, "ada", word(49))
        assert pruned.compaction.total_compacted == 10
        await memories.restore(Restore(user_id="ada", run_id=pruned.memory_id))
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 0
        for stored in await fill(memories, 9, start=50):
            assert stored.compaction.total_compacted == 0
        assert (await remember(memories, "ada", word(59))).compaction.relevance_pruning
        await assert_sound(database_url, "ada")


@in_loop
async def test_a_duplicate_comes_back_when_its_twin_is_gone(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        old = await remember(memories, "ada", "a 0", "x")
        await remember(memories, "ada", "a 5")
        again = Restore(user_id="ada", memory_id=old.memory_id)
        restored = await memories.restore(again)
        assert restored == Restored(
            restored_count=0, skipped=(Skipped(memory_id=old.memory_id, reason="duplicate"),)
        )
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=1))
        await remember(memories, "ada", "b 0")  # takes the place of the twin
        assert await memories.restore(again) == restored  # the same job
        full = await memories.restore(Restore(user_id="ada", memory_id=old.memory_id))
        assert [skipped.reason for skipped in full.skipped] == ["full"]
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=9))
        back = await memories.restore(Restore(user_id="ada", memory_id=old.memory_id))
        assert back == Restored(restored_count=1)
        (row,) = await query(database_url, "SELECT * FROM memory WHERE content = 'a 0'")
        assert (row.id, row.tags, row.access_count) == (old.memory_id, ["x"], 0)
        assert await contents(database_url, "ada") == {"a 0", "b 0"}
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)


@in_loop
async def test_of_two_duplicates_in_the_archive_one_comes_back(database_url: str) -> None:
    loose = Policy(dedup_guard=False, similarity_threshold=0.99999)
    async with worker(database_url, loose, ANGLES) as memories:
        for angle in (0, 5, 90, 180):
            await remember(memories, "ada", f"a {angle}")
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=2))
        payload = Compact(user_id="ada")
        assert (await memories.compact(payload)).total_compacted == 3
        tightened = SetPolicy(user_id="ada", max_memories=10, similarity_threshold=0.95)
        await memories.set_policy(tightened)
        restored = await memories.restore(Restore(user_id="ada", run_id=payload.id))
        assert (restored.restored_count, len(restored.skipped)) == (2, 1)
        assert restored.skipped[0].reason == "duplicate"
        assert await contents(database_url, "ada") == {"a 5", "a 90", "a 180"}
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)


@in_loop
async def test_a_restoration_takes_effect_once(database_url: str) -> None:
    async with workers(database_url, 2, SMALL) as (one, other):
        last = (await fill(one, 21))[-1]
        payload = Restore(user_id="ada", run_id=last.memory_id)
        first, second = await asyncio.gather(one.restore(payload), other.restore(payload))
        assert first == second == await other.restore(payload)
        assert first.restored_count == 4
        rest = await other.restore(Restore(user_id="ada", run_id=last.memory_id))
        assert (rest.restored_count, len(rest.skipped)) == (0, 1)
        assert (await one.count(Count(user_id="ada"))).count == 20
        for memories in (one, other):
            found = await memories.search(
                Search(user_id="ada", query=word(0), limit=50, threshold=-1)
            )
            assert len(found.matches) == 20
    await assert_sound(database_url, "ada", SMALL)


@in_loop
async def test_nothing_of_another_user_is_restored(database_url: str) -> None:
    async with worker(database_url, SMALL) as memories:
        last = (await fill(memories, 21))[-1]
        await remember(memories, "grace", word(90))
        for user_id in ("grace", "nobody"):
            payload = Restore(user_id=user_id, run_id=last.memory_id)
            assert await memories.restore(payload) == Restored(restored_count=0)
        unknown = Restore(user_id="ada", memory_id=UUID(int=7))
        assert await memories.restore(unknown) == Restored(restored_count=0)
        assert (await memories.list_archived(ListArchived(user_id="ada"))).total == 5
