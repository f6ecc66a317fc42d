"""Compaction in every store of memories: PostgreSQL's, and the one in memory."""

from datetime import timedelta

import pytest

from bespoke_schemas.memories import (
    Compact,
    Count,
    Delete,
    ListArchived,
    ListCompactions,
    Restore,
    SetPolicy,
    Skipped,
)
from bespoke_workers.errors import Refused
from bespoke_workers.memories.policy import Policy
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    Clock,
    in_loop,
)
from tests.integration.memory_workers import remember as stored
from tests.integration.stores import SMALL, Open, access, held, read, reasons
from tests.integration.test_memories_compaction import word


@in_loop
async def test_size_leaves_four_fifths_and_what_was_touched_last(opened: Open) -> None:
    async with opened(SMALL) as store:
        every = [await stored(store, "ada", word(number)) for number in range(20)]
        await access(store, word(0))
        last = await stored(store, "ada", word(20))
        report = last.compaction.size_compaction
        assert report is not None
        assert (report.before_count, report.removed_count, report.after_count) == (21, 5, 16)
        assert report.trigger == "size_limit_exceeded"
        assert (last.count, last.compaction.total_compacted) == (16, 5)
        assert await reasons(store) == {word(number): "size" for number in range(1, 6)}
        (run,) = (await store.list_compactions(ListCompactions(user_id="ada"))).runs
        assert (run.id, run.report) == (last.memory_id, last.compaction)
        assert (await read(store, every[0].memory_id)).access_count == 1


@in_loop
async def test_age_takes_what_is_older_to_the_second(opened: Open) -> None:
    clock = Clock()
    async with opened(Policy(max_age_days=10), clock=clock) as store:
        await stored(store, "ada", word(0))
        await stored(store, "ada", word(1))
        clock.now += timedelta(days=10) - timedelta(seconds=2)
        assert (await stored(store, "ada", word(2))).compaction.age_compaction is None
        report = (await stored(store, "ada", word(3))).compaction.age_compaction
        assert report is not None
        assert (report.removed_count, report.trigger) == (1, "age_limit_exceeded")
        assert await reasons(store) == {word(0): "age"}


@in_loop
async def test_relevance_takes_the_bottom_fifth_and_then_pauses(opened: Open) -> None:
    async with opened() as store:
        for number in range(60):
            await stored(store, "ada", word(number))
        await access(store, word(0), 2)
        pruned = await stored(store, "ada", word(60))
        report = pruned.compaction.relevance_pruning
        assert report is not None
        assert (report.removed_count, report.after_count) == (12, 49)
        for number in range(61, 72):
            assert (await stored(store, "ada", word(number))).compaction.total_compacted == 0
        assert (await stored(store, "ada", word(72))).compaction.total_compacted == 12


@in_loop
async def test_compacting_finds_duplicates_under_a_changed_threshold(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        for content in ("a 0", "a 25", "a 50", "b 0"):
            await stored(store, "ada", content, content[0])
        await access(store, "a 25")
        assert (await store.compact(Compact(user_id="ada"))).total_compacted == 0
        await store.set_policy(SetPolicy(user_id="ada", similarity_threshold=0.9))
        compact = Compact(user_id="ada")
        report = await store.compact(compact)
        assert report.deduplication is not None
        assert (report.deduplication.removed_count, report.total_compacted) == (2, 2)
        assert await store.compact(compact) == report
        assert sorted(await held(store)) == ["a 25", "b 0"]
        assert await reasons(store) == {"a 0": "deduplication", "a 50": "deduplication"}


@in_loop
async def test_a_dry_run_tells_what_would_go_and_removes_nothing(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        for content in ("a 0", "a 25", "b 0"):
            await stored(store, "ada", content)
        tried = Compact(user_id="ada", dry_run=True, preset="aggressive")
        report = await store.compact(tried)
        assert report.deduplication is not None
        assert report.total_compacted == report.deduplication.removed_count == 1
        assert len(await held(store)) == 3
        assert (await store.compact(Compact(user_id="ada", dry_run=True))).total_compacted == 0
        await store.set_policy(SetPolicy(user_id="ada", preset="aggressive"))
        assert await store.compact(Compact(user_id="ada")) == report
        assert await store.compact(tried) == report
        with pytest.raises(Refused, match="got 'bold'"):
            await store.compact(Compact(user_id="ada", dry_run=True, preset="bold"))


@in_loop
async def test_force_runs_every_strategy(opened: Open) -> None:
    async with opened(SMALL) as store:
        for number in range(18):
            await stored(store, "ada", word(number))
        await access(store, word(17))
        report = await store.compact(Compact(user_id="ada", force=True))
        assert report.size_compaction is not None
        assert report.age_compaction is not None
        assert report.deduplication is not None
        assert report.relevance_pruning is not None
        assert report.size_compaction.trigger == "forced"
        assert (report.size_compaction.removed_count, report.relevance_pruning.removed_count) == (
            2,
            3,
        )
        assert (await store.count(Count(user_id="ada"))).count == 13
        assert (await store.compact(Compact(user_id="nobody", force=True))).total_compacted == 0


@in_loop
async def test_what_was_removed_comes_back_unless_it_cannot(opened: Open) -> None:
    clock = Clock()
    async with opened(Policy(max_memories=4, dedup_guard=False), ANGLES, clock) as store:
        for content in ("a 0", "b 0", "c 0", "d 0"):
            await stored(store, "ada", content)
        pushed = await stored(store, "ada", "e 0")
        assert await reasons(store) == {"a 0": "size", "b 0": "size"}
        await stored(store, "ada", "a 5")
        back = await store.restore(Restore(user_id="ada", run_id=pushed.memory_id))
        skipped = {one.reason for one in back.skipped}
        assert (back.restored_count, skipped) == (0, {"full", "duplicate"})
        listed = (await store.list_archived(ListArchived(user_id="ada"))).archived
        ids = {one.memory.content: one.memory.id for one in listed}
        again = await store.restore(Restore(user_id="ada", memory_id=ids["a 0"]))
        assert again.skipped == (Skipped(memory_id=ids["a 0"], reason="duplicate"),)
        await store.delete(Delete(user_id="ada", memory_id=pushed.memory_id))
        clock.now += timedelta(days=80)
        restore = Restore(user_id="ada", memory_id=ids["b 0"])
        assert [(await store.restore(restore)).restored_count for _ in range(2)] == [1, 1]
        clock.now += timedelta(days=60)
        await stored(store, "ada", "f 0")
        assert (await read(store, ids["b 0"])).content == "b 0"  # as young as its restoration
        assert (await reasons(store))["e 0"] == "deleted"
