"""One suite over every store of memories: PostgreSQL's, and the one in memory."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas import payload_types
from bespoke_schemas.ids import uuid7
from bespoke_schemas.memories import (
    Clear,
    Compact,
    Count,
    Delete,
    FindSimilar,
    Get,
    GetPolicy,
    List,
    ListArchived,
    ListCompactions,
    Memory,
    Restore,
    Search,
    SetPolicy,
    Skipped,
    Stats,
    Store,
    Update,
)
from bespoke_workers.errors import Refused
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.port import MemoryStore
from bespoke_workers.observe import events
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    LEXICAL,
    Clock,
    in_loop,
)
from tests.integration.memory_workers import remember as stored
from tests.integration.stores import Open
from tests.integration.test_memories_compaction import word

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


@in_loop
async def test_what_is_stored_is_read_as_it_was(opened: Open) -> None:
    async with opened() as store:
        payload = Store(
            user_id="ada",
            content="Has a cat",
            kind="pet",
            tags=("a", "b", "a"),
            metadata={"x": [1]},
        )
        one = await store.store(payload)
        assert (one.memory_id, one.outcome, one.count) == (payload.id, "inserted", 1)
        memory = await read(store, payload.id)
        assert (memory.content, memory.kind, memory.tags) == ("Has a cat", "pet", ("a", "b"))
        assert (memory.metadata, memory.access_count, memory.last_accessed_at) == (
            {"x": [1]},
            0,
            None,
        )
        assert memory.created_at == memory.updated_at
        memory.metadata["x"] = 2
        payload.metadata["x"] = 3
        assert (await read(store, payload.id)).metadata == {"x": [1]}


@in_loop
async def test_a_job_takes_effect_once_and_its_id_is_never_another_jobs(opened: Open) -> None:
    async with opened() as store:
        payload = Store(user_id="ada", content="Has a cat")
        first = await store.store(payload)
        await stored(store, "ada", "Likes tea")
        assert await store.store(payload) == first
        delete = Delete(user_id="ada", memory_id=payload.id)
        assert [(await store.delete(delete)).deleted for _ in range(2)] == [True, True]
        assert await held(store) == ["Likes tea"]
        for other in (
            Store(id=payload.id, user_id="grace", content="Has a cat"),
            Delete(id=payload.id, user_id="ada", memory_id=payload.id),
        ):
            with pytest.raises(Refused, match="belongs to another job"):
                await (store.store(other) if isinstance(other, Store) else store.delete(other))
        assert (await store.count(Count(user_id="grace"))).count == 0


@in_loop
async def test_duplicates_are_merged_and_the_more_accessed_one_is_kept(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        old = await stored(store, "ada", "a 0", "x")
        new = await stored(store, "ada", "a 5", "y")
        assert (new.outcome, new.merged_with, new.count) == ("merged", old.memory_id, 1)
        assert (await read(store, new.memory_id)).tags == ("y", "x")
        await access(store, "a 5", 2)
        third = await stored(store, "ada", "a 9", "z")
        assert (third.memory_id, third.outcome) == (new.memory_id, "merged")
        kept = await read(store, new.memory_id)
        assert (kept.content, kept.tags, kept.access_count) == ("a 5", ("y", "x", "z"), 2)
        archived = (await store.list_archived(ListArchived(user_id="ada"))).archived
        assert [(one.memory.content, one.reason) for one in archived] == [
            ("a 9", "duplicate"),
            ("a 0", "duplicate"),
        ]
        assert archived[1].kept_id == new.memory_id
        assert archived[1].similarity == new.similarity


@in_loop
async def test_the_guard_keeps_apart_what_differs_in_a_number(opened: Open) -> None:
    six, seven = "My alarm rings at 6 am each day", "My alarm rings at 7 am each day"
    async with opened(Policy(similarity_threshold=0.5)) as store:
        await stored(store, "ada", six)
        assert (await stored(store, "ada", seven)).outcome == "inserted"
        assert (await stored(store, "ada", six.upper())).outcome == "merged"
    async with opened(Policy(similarity_threshold=0.5, dedup_guard=False)) as store:
        await stored(store, "grace", six)
        assert (await stored(store, "grace", seven)).outcome == "merged"


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


@in_loop
async def test_a_search_heeds_every_filter_and_counts_accesses(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        for content, kind, tags in (
            ("a 0", "fact", ("x",)),
            ("a 30", "fact", ("x", "y")),
            ("a 60", "wish", ("x", "y")),
            ("b 0", "wish", ()),
        ):
            await store.store(Store(user_id="ada", content=content, kind=kind, tags=tags))

        async def found(**filters: Any) -> list[str]:
            result = await store.search(Search(user_id="ada", query="a 0", **filters))
            return [match.memory.content for match in result.matches]

        assert await found(limit=3) == ["a 0", "a 30", "a 60"]
        assert await found(threshold=0.8) == ["a 0", "a 30"]
        assert await found(tags=("y", "x")) == ["a 30", "a 60"]
        assert await found(kind="wish", limit=1) == ["a 60"]
        assert await found(text="A 3") == ["a 30"]
        assert await found(text="%") == []
        counts = {one.content: one.access_count for one in await every(store)}
        assert counts == {"a 0": 2, "a 30": 4, "a 60": 3, "b 0": 0}


async def every(store: MemoryStore) -> tuple[Memory, ...]:
    return (await store.list(List(user_id="ada"))).memories


@in_loop
async def test_looking_for_likes_leaves_no_trace(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        one = await stored(store, "ada", "a 0")
        other = await stored(store, "ada", "a 30")
        near = FindSimilar(user_id="ada", memory_id=one.memory_id, threshold=0.8)
        (match,) = (await store.find_similar(near)).matches
        assert match.memory.id == other.memory_id
        own = FindSimilar(user_id="ada", content="a 1")
        (match,) = (await store.find_similar(own)).matches
        assert (match.memory.id, match.memory.access_count) == (one.memory_id, 0)
        missing = FindSimilar(user_id="ada", memory_id=uuid7())
        assert (await store.find_similar(missing)).matches == ()


@in_loop
async def test_an_update_is_archived_embedded_and_deduplicated(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        one = await stored(store, "ada", "a 0", "x")
        other = await stored(store, "ada", "b 0", "y")
        await access(store, "b 0")
        retold = Update(user_id="ada", memory_id=one.memory_id, content="c 0", metadata={"n": 1})
        changed = (await store.update(retold)).memory
        assert changed is not None
        assert (changed.content, changed.tags, changed.metadata) == ("c 0", ("x",), {"n": 1})
        assert changed.updated_at > changed.created_at
        assert await reasons(store) == {"a 0": "updated"}
        merging = Update(user_id="ada", memory_id=one.memory_id, content="b 3", tags=("z",))
        updated = await store.update(merging)
        assert updated.memory is not None
        assert (updated.memory.id, updated.merged_with) == (other.memory_id, other.memory_id)
        assert updated.memory.tags == ("y", "z")
        assert await store.update(merging) == updated
        missing = Update(user_id="ada", memory_id=uuid7(), content="d 0")
        assert (await store.update(missing)).memory is None


@in_loop
async def test_clearing_takes_what_is_named_and_tells_of_it(opened: Open) -> None:
    told: list[Any] = []
    end = events.subscribe("dspy.memory.cleared", told.append)
    async with opened() as store:
        for number, kind in enumerate(("a", "a", "b")):
            payload = Store(user_id="ada", content=word(number), kind=kind, tags=(str(number),))
            await store.store(payload)
        assert (await store.clear(Clear(user_id="ada", kind="a", tags=("1",)))).removed_count == 1
        assert await held(store) == [word(2), word(0)]
        assert (await store.clear(Clear(user_id="ada"))).removed_count == 2
        assert (await store.clear(Clear(user_id="ada"))).removed_count == 0
        assert set((await reasons(store)).values()) == {"cleared"}
    end()
    assert [(one["removed_count"], one["after_count"]) for one in told] == [(1, 2), (2, 0)]


@in_loop
async def test_listings_come_in_pages_newest_first(opened: Open) -> None:
    async with opened() as store:
        for number in range(5):
            await stored(store, "ada", word(number), "even" if number % 2 == 0 else "odd")
        page = await store.list(List(user_id="ada", tags=("even",), limit=1, offset=1))
        assert ([one.content for one in page.memories], page.total) == ([word(2)], 3)
        some = await store.list(List(user_id="ada", text=word(3).upper()))
        assert [one.content for one in some.memories] == [word(3)]


@in_loop
async def test_a_policy_is_set_read_and_refused_whole(opened: Open) -> None:
    async with opened(SMALL) as store:
        default = await store.get_policy(GetPolicy(user_id="ada"))
        assert (default.preset, default.max_memories) == (None, 20)
        assert default.similarity_threshold == LEXICAL.threshold
        with pytest.raises(Refused, match="policy preset"):
            await store.set_policy(SetPolicy(user_id="ada", preset="bold", max_memories=3))
        with pytest.raises(Refused, match="max_memories"):
            await store.set_policy(SetPolicy(user_id="ada", max_age_days=3, max_memories=0))
        assert await store.get_policy(GetPolicy(user_id="ada")) == default
        assert (await store.stats(Stats(user_id="ada"))).embedder is None
        payload = SetPolicy(user_id="ada", preset="aggressive", max_memories=2)
        own = await store.set_policy(payload)
        assert (own.preset, own.max_memories, own.max_age_days) == ("aggressive", 2, 30)
        reset = await store.set_policy(SetPolicy(user_id="ada", reset=True))
        assert reset == default
        assert await store.set_policy(payload) == own  # done before, not again
        assert await store.get_policy(GetPolicy(user_id="ada")) == default
        assert (await store.stats(Stats(user_id="ada"))).embedder == LEXICAL.name


@in_loop
async def test_stats_tell_what_a_space_holds(opened: Open) -> None:
    async with opened() as store:
        first = await stored(store, "ada", word(0))
        await store.store(Store(user_id="ada", content=word(1), kind="wish"))
        await access(store, word(0), 3)
        gone = await stored(store, "ada", word(2))
        await store.delete(Delete(user_id="ada", memory_id=gone.memory_id))
        stats = await store.stats(Stats(user_id="ada"))
        assert (stats.count, stats.by_kind, stats.archived_count) == (2, {"fact": 1, "wish": 1}, 1)
        assert (stats.most_accessed, stats.accesses_total) == (3, 3)
        assert stats.oldest_created_at == (await read(store, first.memory_id)).created_at
        assert (stats.embedder, stats.dim) == (LEXICAL.name, LEXICAL.dim)


@in_loop
async def test_no_payload_reads_or_changes_another_users_memories(opened: Open) -> None:
    async with opened() as store:
        one = await stored(store, "ada", "Has a cat", "pet")
        two = await stored(store, "ada", "Likes green tea")
        await store.delete(Delete(user_id="ada", memory_id=two.memory_id))
        await access(store, "cat")
        before = await everything(store)
        whose: dict[str, Any] = {"user_id": "grace"}
        mine = whose | {"memory_id": one.memory_id}
        assert (await store.search(Search(query="Has a cat", **whose))).matches == ()
        assert (await store.find_similar(FindSimilar(**mine, threshold=-1))).matches == ()
        assert (await store.get(Get(**mine))).memory is None
        assert (await store.list(List(**whose))).total == 0
        assert (await store.count(Count(**whose))).count == 0
        assert (await store.stats(Stats(**whose))).archived_count == 0
        assert (await store.update(Update(**mine, content="Has a dog"))).memory is None
        assert not (await store.delete(Delete(**mine))).deleted
        assert (await store.clear(Clear(**whose))).removed_count == 0
        assert (await store.compact(Compact(**whose, force=True))).total_compacted == 0
        assert (await store.list_archived(ListArchived(**whose))).total == 0
        restore = Restore(**whose, memory_id=two.memory_id)
        assert (await store.restore(restore)).restored_count == 0
        await store.set_policy(SetPolicy(**whose, max_memories=1))
        assert (await stored(store, "grace", "Has a cat")).outcome == "inserted"
        assert await everything(store) == before


async def everything(store: MemoryStore) -> list[Any]:
    """Return all that can be read of ada."""
    return [
        await store.list(List(user_id="ada")),
        await store.stats(Stats(user_id="ada")),
        await store.get_policy(GetPolicy(user_id="ada")),
        await store.list_archived(ListArchived(user_id="ada")),
        await store.list_compactions(ListCompactions(user_id="ada")),
    ]


def test_the_port_has_a_method_for_payloads_alone() -> None:
    served = {
        task.rpartition(".")[2] for task in payload_types() if task.startswith("bespoke.memories.")
    }
    assert {name for name in vars(MemoryStore) if not name.startswith("_")} <= served
