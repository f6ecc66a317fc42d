"""Compaction keeps a user's memories bounded by the documents' rules, and never more than that."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bespoke_schemas.memories import Compaction
from bespoke_workers.memories.compaction import (
    Report,
    age_cutoff,
    age_due,
    is_low,
    is_more_than,
    keeps,
    low_below,
    relevance_due,
    relevance_quota,
    relevance_score,
    size_excess,
    stores_until_relevance,
)
from bespoke_workers.memories.plan import Plan, Row, plan
from bespoke_workers.memories.policy import DEFAULT, Policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def rows(n: int, *, accesses: int = 0) -> list[Row]:
    """`n` memories, one a minute, the last of them just now."""
    return [
        Row(UUID(int=i + 1), NOW - timedelta(minutes=n - 1 - i), access_count=accesses)
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("share", "removed", "before", "more"),
    [
        (0.5, 5, 10, False),
        (0.5, 6, 10, True),
        (0.1, 3, 30, False),  # 0.1 * 30 is more than 3 in floating point
        (0.7, 7, 10, False),
        (0.0, 1, 1000, True),
        (1.0, 10, 10, False),
    ],
)
def test_a_share_is_exceeded_by_more_than_it(
    share: float, removed: int, before: int, more: bool
) -> None:
    assert is_more_than(share, removed, before) is more


# Size


@pytest.mark.parametrize(
    ("count", "limit", "excess"),
    [(1000, 1000, 0), (1001, 1000, 201), (1200, 1000, 400), (21, 20, 5), (8, 7, 3), (2, 1, 2)],
)
def test_size_goes_down_to_four_fifths_only_from_above_the_limit(
    count: int, limit: int, excess: int
) -> None:
    assert size_excess(count, limit) == excess


def test_forced_size_goes_down_to_four_fifths_from_below_the_limit_too() -> None:
    assert size_excess(900, 1000, force=True) == 100
    assert size_excess(800, 1000, force=True) == 0


def test_documents_example_1200_stored_under_a_limit_of_1000_leaves_the_newest_800() -> None:
    result = plan(rows(1200), DEFAULT, NOW)

    assert [row.id.int for row in result.kept] == list(range(401, 1201))
    assert result.report.as_dict() == {
        "size_compaction": {
            "removed_count": 400,
            "before_count": 1200,
            "after_count": 800,
            "trigger": "size_limit_exceeded",
        },
        "age_compaction": None,
        "deduplication": None,
        "relevance_pruning": None,
        "total_compacted": 400,
    }


def test_documents_example_25_stores_under_a_limit_of_20_never_leave_more() -> None:
    kept: tuple[Row, ...] = ()
    policy = Policy(max_memories=20)
    for row in rows(25):
        kept = plan([*kept, row], policy, NOW, just_stored={row.id}).kept
        assert row in kept
        assert len(kept) <= 20

    assert len(kept) == 20


def test_size_spares_what_was_accessed_lately() -> None:
    memories = rows(11)
    memories[0] = memories[0]._replace(access_count=1, last_accessed_at=NOW)

    result = plan(memories, Policy(max_memories=10), NOW)

    assert [row_id.int for row_id in result.size] == [2, 3, 4]


# Age


def test_age_is_judged_to_the_second_and_strictly() -> None:
    cutoff = age_cutoff(NOW, 90)

    assert cutoff == datetime(2025, 12, 1, 12, tzinfo=UTC)
    assert not age_due(cutoff, cutoff)
    assert age_due(cutoff - timedelta(seconds=1), cutoff)
    assert not age_due(None, cutoff)


def test_age_removes_all_that_are_older_and_nothing_else() -> None:
    ages = [timedelta(days=200), timedelta(days=90, seconds=1), timedelta(days=90), timedelta()]
    memories = [Row(UUID(int=i), NOW - age) for i, age in enumerate(ages)]

    result = plan(memories, DEFAULT, NOW)

    assert [row_id.int for row_id in result.age] == [0, 1]
    assert result.report.age_compaction is not None
    assert result.report.age_compaction.trigger == "age_limit_exceeded"


# Deduplication


def test_more_accesses_are_kept_and_on_a_tie_the_newer() -> None:
    earlier = NOW - timedelta(seconds=1)

    assert keeps(2, earlier, 1, NOW)
    assert not keeps(1, NOW, 2, earlier)
    assert keeps(1, NOW, 1, earlier)
    assert not keeps(1, earlier, 1, NOW)
    assert keeps(1, NOW, 1, NOW)


def test_the_kept_one_takes_over_the_accesses_of_a_whole_chain() -> None:
    a, b, c = (
        Row(UUID(int=i), NOW, access_count=i, last_accessed_at=NOW + timedelta(hours=-i))
        for i in (1, 2, 3)
    )

    result = plan([a, b, c], DEFAULT, NOW, pairs=lambda _: [(a.id, b.id), (b.id, c.id)])

    assert result.merged == {a.id: b.id, c.id: b.id} or result.merged == {a.id: c.id, b.id: c.id}
    assert result.kept == (
        result.kept[0]._replace(access_count=6, last_accessed_at=a.last_accessed_at),
    )


def test_a_duplicate_of_what_was_just_stored_goes_into_it() -> None:
    old, new = Row(UUID(int=1), NOW - timedelta(days=1), access_count=9), Row(UUID(int=2), NOW)

    result = plan(
        [old, new], DEFAULT, NOW, just_stored={new.id}, pairs=lambda _: [(old.id, new.id)]
    )

    assert result.merged == {old.id: new.id}
    assert [row.access_count for row in result.kept] == [9]


# Relevance


def test_low_is_below_a_share_of_the_most_accessed_and_exact() -> None:
    assert not is_low(3, 30, 0.1)  # 0.1 * 30 is more than 3 as floats go
    assert is_low(2, 30, 0.1)
    assert is_low(3, 31, 0.1)
    assert not is_low(0, 0, 0.1)
    assert low_below(30, 0.1) == 3
    assert low_below(31, 0.1) == 4


@pytest.mark.parametrize(
    ("count", "most", "low", "stored", "removed", "due"),
    [
        (100, 10, 30, 0, 0, True),
        (100, 10, 29, 0, 0, False),
        (50, 10, 15, 0, 0, True),
        (50, 10, 14, 0, 0, False),
        (51, 10, 15, 0, 0, False),
        (49, 10, 49, 0, 0, False),
        (100, 0, 100, 0, 0, False),
        (100, 10, 30, 19, 20, False),
        (100, 10, 30, 20, 20, True),
    ],
)
def test_relevance_is_due_from_exactly_30_percent_of_at_least_50(
    count: int, most: int, low: int, stored: int, removed: int, due: bool
) -> None:
    assert relevance_due(count, most, low, stored, removed) == due


def test_documents_example_of_100_memories_30_are_low_and_20_go() -> None:
    memories = [row._replace(access_count=0 if i < 30 else 10) for i, row in enumerate(rows(100))]

    result = plan(memories, DEFAULT, NOW)

    assert [row_id.int for row_id in result.relevance] == list(range(1, 21))
    assert result.report.relevance_pruning is not None
    assert result.report.relevance_pruning.trigger == "low_relevance"
    assert plan(memories[1:], DEFAULT, NOW).removed == ()  # 29 of 99 are less than 30 %


def test_score_is_seven_tenths_frequency_and_three_tenths_recency() -> None:
    assert relevance_score(10, 10, 0) == pytest.approx(1.0)
    assert relevance_score(5, 10, 1) == pytest.approx(0.35 + 0.15)
    assert relevance_score(0, 0, 2) == pytest.approx(0.1)
    assert relevance_score(0, 10, -5) == pytest.approx(0.3)


def test_a_pruning_is_not_repeated_until_as_many_were_stored() -> None:
    memories = [row._replace(access_count=0 if i else 10) for i, row in enumerate(rows(100))]
    first = plan(memories, DEFAULT, NOW)
    assert (len(first.relevance), first.pause) == (20, 20)

    kept, pause = first.kept, first.pause
    for n in range(20):
        row = Row(UUID(int=1000 + n), NOW)
        result = plan([*kept, row], DEFAULT, NOW, just_stored={row.id}, pause=pause - 1)
        assert bool(result.relevance) == (n == 19)
        kept, pause = result.kept, result.pause


@given(st.integers(0, 400), st.data())
def test_a_counter_can_skip_the_check_for_exactly_so_many_stores(count: int, draw: Any) -> None:
    low = draw.draw(st.integers(0, count))
    stores = stores_until_relevance(count, low)

    assert relevance_due(count + stores, 1, low + stores)
    assert stores == 0 or not relevance_due(count + stores - 1, 1, low + stores - 1)


@given(st.integers(1, 10**6))
def test_quotas_are_whole_numbers_rounded_down(count: int) -> None:
    assert relevance_quota(count) == count * 20 // 100
    assert count + 1 - size_excess(count + 1, count) == count * 80 // 100


# The whole


@st.composite
def spaces(draw: Any) -> tuple[list[Row], Policy]:
    ages = draw(st.lists(st.integers(0, 40), max_size=90))
    memories = [
        Row(
            UUID(int=i),
            NOW - timedelta(days=age),
            access_count=draw(st.integers(0, 12)) if accessed else 0,
            last_accessed_at=NOW - timedelta(days=age // 2) if accessed else None,
        )
        for i, age in enumerate(ages)
        for accessed in [draw(st.booleans())]
    ]
    policy = Policy(
        max_memories=draw(st.integers(1, 100)),
        max_age_days=draw(st.integers(1, 50)),
        low_access_threshold=draw(st.sampled_from([0.05, 0.1, 0.5])),
    )
    return memories, policy


def every_seventh(memories: Any) -> list[tuple[UUID, UUID]]:
    """A stand-in for similarity: memories whose numbers leave the same rest are duplicates."""
    return [
        (a.id, b.id)
        for a in memories
        for b in memories
        if a.id < b.id < UUID(int=14) and a.id.int % 7 == b.id.int % 7
    ]


@settings(max_examples=150)
@given(spaces(), st.booleans(), st.booleans(), st.data())
def test_a_plan_bounds_and_spares_and_adds_up(
    space: tuple[list[Row], Policy], force: bool, dedup: bool, draw: Any
) -> None:
    memories, policy = space
    just_stored = draw.draw(st.sampled_from([row.id for row in memories])) if memories else None
    pairs = every_seventh if dedup else None

    result = plan(
        memories,
        policy,
        NOW,
        just_stored={just_stored} if just_stored else (),
        force=force,
        pairs=pairs,
    )

    kept = {row.id for row in result.kept}
    assert len(kept) <= policy.max_memories
    assert just_stored is None or just_stored in kept
    assert len(result.removed) == len(set(result.removed))
    assert kept | set(result.removed) == {row.id for row in memories}
    assert not kept & set(result.removed)
    assert set(result.merged.values()).isdisjoint(result.merged)
    cutoff = age_cutoff(NOW, policy.max_age_days)
    assert all(row.created_at >= cutoff for row in result.kept if row.id != just_stored)
    assert_adds_up(result, len(memories), force)


@settings(max_examples=150)
@given(spaces(), st.data())
def test_a_plan_done_twice_does_no_more_and_no_order_of_rows_matters(
    space: tuple[list[Row], Policy], draw: Any
) -> None:
    memories, policy = space
    result = plan(memories, policy, NOW, pairs=every_seventh)
    shuffled = plan(draw.draw(st.permutations(memories)), policy, NOW, pairs=every_seventh)

    again = plan(result.kept, policy, NOW, pairs=every_seventh, pause=result.pause)
    assert again.removed == ()
    assert again.report == Report()
    assert set(shuffled.size) == set(result.size)
    assert set(shuffled.age) == set(result.age)
    assert len(shuffled.removed) == len(result.removed)


def test_the_report_is_what_the_payload_reads() -> None:
    report = plan(rows(60, accesses=1), Policy(max_memories=50), NOW, force=True).report
    read = Compaction.model_validate(report.as_dict())

    assert read.total_compacted == report.total_compacted == 20 + 8
    assert read.size_compaction is not None
    assert read.size_compaction.trigger == "forced"
    assert read.relevance_pruning is not None
    assert read.relevance_pruning.before_count == 40


def assert_adds_up(result: Plan, before: int, force: bool) -> None:
    report = result.report
    strategies = (
        (report.size_compaction, len(result.size)),
        (report.age_compaction, len(result.age)),
        (report.deduplication, len(result.merged)),
        (report.relevance_pruning, len(result.relevance)),
    )
    for strategy, removed in strategies:
        assert (strategy is not None) == (force or removed > 0)
        if strategy is not None:
            assert strategy.before_count == before
            assert strategy.removed_count == removed
            assert strategy.after_count == before - removed
        before -= removed
    assert report.total_compacted == len(result.removed)
    assert before == len(result.kept)
