"""Inline compaction: bounded after every store, by size, age and relevance."""

from datetime import timedelta

import pytest

from bespoke_schemas.memories import Compact, Count, Search, Stored
from bespoke_workers.memories import scoring
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.scoring import ScoringFailed
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe import events
from tests.integration.memory_workers import (
    ANGLES,
    Clock,
    assert_sound,
    contents,
    in_loop,
    query,
    remember,
    worker,
)

SMALL = Policy(max_memories=20)


def word(number: int) -> str:
    """Return a text that is like no other."""
    letters = "bcdfghjklmnpqrstvwxz"
    return "".join(letters[number // 20**place % 20] * 3 + "aeiou"[place] for place in range(3))


async def fill(memories: Memories, count: int, start: int = 0) -> list[Stored]:
    """Store so many texts that are unlike each other."""
    return [await remember(memories, "ada", word(number)) for number in range(start, start + count)]


@in_loop
async def test_no_store_leaves_more_than_the_limit(database_url: str) -> None:
    async with worker(database_url, SMALL) as memories:
        for number in range(25):
            stored = await remember(memories, "ada", word(number))
            assert stored.count <= 20
            assert (await memories.count(Count(user_id="ada"))).count == stored.count
            assert word(number) in await contents(database_url, "ada")
            await assert_sound(database_url, "ada", SMALL)
            if number == 20:
                report = stored.compaction.size_compaction
                assert report is not None
                assert (report.before_count, report.removed_count, report.after_count) == (
                    21,
                    5,
                    16,
                )
                assert report.trigger == "size_limit_exceeded"
                assert stored.compaction.total_compacted == 5
    (run,) = await query(
        database_url, "SELECT *, report ->> 'total_compacted' AS n FROM compaction_run"
    )
    assert (run.user_id, run.n) == ("ada", "5")
    archived = await query(database_url, "SELECT * FROM memory_archive")
    assert {row.reason for row in archived} == {"size"}
    assert {row.run_id for row in archived} == {run.id}


@in_loop
async def test_size_removes_what_was_touched_longest_ago(database_url: str) -> None:
    async with worker(database_url, SMALL) as memories:
        await fill(memories, 20)
        for number in (0, 2):
            await memories.search(Search(user_id="ada", query=word(number), limit=1))
        await remember(memories, "ada", word(20))
    left = await contents(database_url, "ada")
    assert left == {word(number) for number in (0, 2, *range(7, 21))}


@in_loop
async def test_what_another_memory_says_too_goes_first_if_the_policy_says_so(
    database_url: str,
) -> None:
    policy = Policy(max_memories=10, dedup_guard=False, eviction="redundant")
    said = ["a 0", "b 0", "c 0", "d 0", "b 30", "e 0", "f 0", "g 0", "h 0", "c 25"]
    async with worker(database_url, policy, ANGLES) as memories:
        for content in said:
            await remember(memories, "ada", content)
        stored = await remember(memories, "ada", "d 20")  # the newest is a neighbour as well
        assert stored.compaction.total_compacted == 3
        assert await contents(database_url, "ada") == {*said, "d 20"} - {"b 0", "c 0", "d 0"}
        report = await memories.compact(Compact(user_id="ada", force=True))
        assert report.total_compacted == 0
        await assert_sound(database_url, "ada", policy, ANGLES)
    reasons = await query(database_url, "SELECT DISTINCT reason FROM memory_archive")
    assert [row.reason for row in reasons] == ["size"]


@in_loop
async def test_a_limit_of_one_leaves_the_one_just_stored(database_url: str) -> None:
    policy = Policy(max_memories=1)
    async with worker(database_url, policy) as memories:
        for number in range(3):
            assert (await remember(memories, "ada", word(number))).count == 1
            assert await contents(database_url, "ada") == {word(number)}
            await assert_sound(database_url, "ada", policy)


@in_loop
async def test_age_removes_what_is_older_to_the_second(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, Policy(max_age_days=30), clock=clock) as memories:
        await fill(memories, 3)
        first = clock.now - timedelta(seconds=2)
        clock.now = first + timedelta(days=30, seconds=-1)
        stored = await remember(memories, "ada", word(3))  # at the very end of the first one's time
        assert (stored.count, stored.compaction.age_compaction) == (4, None)
        stored = await remember(memories, "ada", word(4))
        report = stored.compaction.age_compaction
        assert report is not None
        assert (report.before_count, report.removed_count, report.after_count) == (5, 1, 4)
        assert word(0) not in await contents(database_url, "ada")
        clock.now += timedelta(days=31)
        stored = await remember(memories, "ada", word(5))
        assert stored.count == 1
        assert await contents(database_url, "ada") == {word(5)}
    reasons = await query(database_url, "SELECT DISTINCT reason FROM memory_archive")
    assert [row.reason for row in reasons] == ["age"]


@in_loop
async def test_relevance_prunes_from_exactly_thirty_per_cent_on(database_url: str) -> None:
    async with worker(database_url) as memories:
        await fill(memories, 70)
        found = await memories.search(Search(user_id="ada", query=word(1), limit=70, threshold=-1))
        assert len(found.matches) == 70
        for number in range(70, 99):
            stored = await remember(memories, "ada", word(number))
            assert stored.compaction.total_compacted == 0  # 29 of 99 are low
        stored = await remember(memories, "ada", word(99))
        report = stored.compaction.relevance_pruning
        assert report is not None
        assert (report.before_count, report.removed_count, report.after_count) == (100, 20, 80)
        # The lowest are those without an access, but for the one just stored; of equal recency
        # within a second or two, the oldest.
        left = await contents(database_url, "ada")
        assert {word(number) for number in range(70, 90)}.isdisjoint(left)
        assert {word(number) for number in (*range(70), *range(90, 100))} == left
        await assert_sound(database_url, "ada")


@in_loop
async def test_a_pruning_is_not_repeated_until_as_many_were_stored(database_url: str) -> None:
    async with worker(database_url) as memories:
        await fill(memories, 50)
        await memories.search(Search(user_id="ada", query=word(0), limit=1))
        first = await remember(memories, "ada", word(50))
        assert first.compaction.relevance_pruning is not None
        assert (first.count, first.compaction.total_compacted) == (41, 10)
        merged = await remember(memories, "ada", word(50).upper())
        assert merged.outcome == "merged"  # adds nothing, and does not count
        for stored in await fill(memories, 9, start=51):
            assert stored.compaction.total_compacted == 0
        tenth = await remember(memories, "ada", word(60))
        report = tenth.compaction.relevance_pruning
        assert report is not None
        assert (report.before_count, report.removed_count) == (51, 10)
        await assert_sound(database_url, "ada")


@in_loop
async def test_without_any_access_relevance_prunes_nothing(database_url: str) -> None:
    async with worker(database_url) as memories:
        assert {stored.compaction.total_compacted for stored in await fill(memories, 60)} == {0}


@in_loop
async def test_a_search_in_another_worker_can_set_the_pruning_off(database_url: str) -> None:
    async with worker(database_url) as writer, worker(database_url) as reader:
        await fill(writer, 60)
        await reader.search(Search(user_id="ada", query=word(5), limit=1))
        stored = await remember(writer, "ada", word(60))
        assert stored.compaction.total_compacted == 12
    assert word(60) in await contents(database_url, "ada")


@in_loop
async def test_a_policy_of_the_user_counts(database_url: str) -> None:
    async with worker(database_url, SMALL) as memories:
        await remember(memories, "ada", word(0))
        await query(
            database_url,
            "UPDATE memory_space SET version = version + 1, policy = '{\"max_memories\": 5}'",
        )
        counts = [stored.count for stored in await fill(memories, 6, start=1)]
    assert counts == [2, 3, 4, 5, 4, 5]


@in_loop
async def test_compactions_are_told_as_events(database_url: str) -> None:
    told: list[events.Event] = []
    names = ("size_compaction", "age_compaction", "relevance_pruning", "compaction_complete")
    ends = [events.subscribe(f"dspy.memory.{name}", told.append) for name in names]
    async with worker(database_url, SMALL) as memories:
        await fill(memories, 21)
    for end in ends:
        end()
    facts = {"removed_count": 5, "before_count": 21, "after_count": 16}
    user = {"user": events.hashed("ada")}
    assert told == [
        {"event": "dspy.memory.size_compaction", "trigger": "size_limit_exceeded", **facts, **user},
        {"event": "dspy.memory.compaction_complete", "exported_to": None, **facts, **user},
    ]


@in_loop
async def test_a_scoring_that_fails_loses_no_store_and_does_nothing_by_half(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "_registered", dict(scoring._registered))

    @scoring.scoring("broken")
    def broken(access_count: int, most_accessed: int, age_days: float) -> float:
        raise ZeroDivisionError("with contents")

    told: list[events.Event] = []
    end = events.subscribe("dspy.memory.scoring_failed", told.append)
    policy = Policy(max_memories=60, scoring="broken")
    async with worker(database_url, policy) as memories:
        await fill(memories, 60)
        await memories.search(Search(user_id="ada", query=word(5), limit=1))
        stored = await remember(memories, "ada", word(60))  # over the limit: size goes first
        assert stored.compaction.relevance_pruning is None
        assert stored.compaction.total_compacted == 13
        await fill(memories, 4, start=61)
        reason = (
            "scoring 'broken' raised ZeroDivisionError; correct "
            f"{broken.__module__}.{broken.__qualname__}, or set another scoring"
        )
        assert [event["reason"] for event in told] == [reason]
        before = await contents(database_url, "ada")
        with pytest.raises(ScoringFailed, match="raised ZeroDivisionError"):
            await memories.compact(Compact(user_id="ada", force=True))
        assert await contents(database_url, "ada") == before
        await assert_sound(database_url, "ada", policy)
    end()
