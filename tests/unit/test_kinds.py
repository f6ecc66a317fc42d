"""Rules of single kinds: within what holds for all kinds, and without a look at any row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bespoke_workers.errors import Refused
from bespoke_workers.memories.duplicates import Candidate, Merge
from bespoke_workers.memories.kinds import MOST_KINDS, KindMarks, KindPolicy, kinds_of
from bespoke_workers.memories.plan import Row, plan
from bespoke_workers.memories.policy import DEFAULT, Policy, resolve
from bespoke_workers.memories.space import NEVER, Space

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHAT = "smalltalk"
TOLD_OF_A_FIELD = (
    ": got 'eviction', allowed: max_memories, max_age_days; set it for all kinds, without a kind"
)


def of_kind(kind: str, *ages_days: float) -> list[Row]:
    """Memories of a kind, of these ages."""
    return [
        Row(UUID(int=1000 * len(kind) + place), NOW - timedelta(days=age), kind=kind)
        for place, age in enumerate(ages_days)
    ]


def policy_of(**kinds: KindPolicy) -> Policy:
    return replace(DEFAULT, kinds=kinds)


# Limits


def test_at_its_cap_a_kind_stays_and_above_it_goes_down_to_four_fifths() -> None:
    policy = policy_of(smalltalk=KindPolicy(max_memories=10))
    ten, others = of_kind(CHAT, *range(10, 0, -1)), of_kind("fact", *range(30, 0, -1))

    assert plan([*others, *ten], policy, NOW).removed == ()
    result = plan([*others, *ten, *of_kind(CHAT, *[0] * 11)[10:]], policy, NOW)

    assert result.size == tuple(row.id for row in ten[:3])
    assert result.report.size_compaction is not None
    assert result.report.size_compaction.trigger == "kind_limit_exceeded"
    assert result.report.size_compaction.before_count == 41


def test_all_kinds_together_are_judged_on_what_the_caps_left() -> None:
    policy = replace(policy_of(smalltalk=KindPolicy(max_memories=5)), max_memories=20)
    memories = [*of_kind("fact", *range(30, 15, -1)), *of_kind(CHAT, *range(6, 0, -1))]

    result = plan(memories, policy, NOW)
    assert len(result.size) == 2  # 21 were there, and 19 are left

    result = plan([*memories, *of_kind("preference", 3, 2)], policy, NOW)
    assert len(result.size) == 2 + 5
    assert result.report.size_compaction is not None
    assert result.report.size_compaction.trigger == "size_limit_exceeded"


def test_a_cap_of_one_leaves_what_was_just_stored() -> None:
    old, new = of_kind(CHAT, 0, 1)

    result = plan(
        [old, new],
        policy_of(smalltalk=KindPolicy(max_memories=1)),
        NOW,
        just_stored={new.id},
    )

    assert result.kept == (new,)


def test_a_kind_of_its_own_age_is_judged_by_it_to_the_second() -> None:
    policy = policy_of(
        smalltalk=KindPolicy(max_age_days=7), preference=KindPolicy(max_age_days=365)
    )
    second = 1 / 86_400
    stays = [*of_kind(CHAT, 7), *of_kind("preference", 365), *of_kind("fact", 90)]
    goes = [
        *of_kind(CHAT, 0, 7 + second)[1:],
        *of_kind("preference", 0, 365 + second)[1:],
        *of_kind("fact", 0, 90 + second)[1:],
    ]

    result = plan([*stays, *goes], policy, NOW)

    assert set(result.age) == {row.id for row in goes}


# Layers


def test_what_is_set_for_the_user_stands_above_the_kinds_of_everybody() -> None:
    everybody = Policy(
        kinds={"preference": KindPolicy(max_age_days=365), CHAT: KindPolicy(max_memories=50)}
    )

    assert resolve("aggressive", {}, default=everybody).age_days("preference") == 365
    assert resolve(None, {"max_age_days": 5}, default=everybody).age_days("preference") == 5
    own = {"max_age_days": 5, "kinds": {"preference": {"max_age_days": 10}}}
    assert resolve(None, own, default=everybody).age_days("preference") == 10
    # A cap of a kind is no limit of all kinds: another limit of all kinds leaves it.
    assert resolve(None, {"max_memories": 9}, default=everybody).caps == {CHAT: 50}
    assert resolve(None, {"kinds": {CHAT: {"max_memories": 7}}}, default=everybody).caps == {
        CHAT: 7
    }


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"max_memories": 0},
            " field max_memories: got 0, allowed: a whole number from 1 to 1000000",
        ),
        (
            {"eviction": "redundant"},
            TOLD_OF_A_FIELD,
        ),
    ],
    ids=["value", "field"],
)
def test_what_is_none_of_a_kind_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused) as refusal:
        kinds_of({CHAT: fields})
    assert str(refusal.value) == f"policy of kind 'smalltalk'{told}"


def test_only_so_many_kinds_have_rules() -> None:
    with pytest.raises(Refused, match=f"rules for {MOST_KINDS + 1} kinds"):
        kinds_of({str(n): {"max_memories": 1} for n in range(MOST_KINDS + 1)})


# Watermarks


def test_marks_come_back_as_they_were_kept() -> None:
    policy = policy_of(smalltalk=KindPolicy(5, 7), preference=KindPolicy(max_age_days=365))
    marks = KindMarks.of([*of_kind(CHAT, 3, 1), *of_kind("fact", 8)], policy)

    assert marks == KindMarks({CHAT: 2}, NOW + timedelta(days=4))
    assert marks is not None
    assert KindMarks.from_json({"counts": {CHAT: 2}, "expires_at": "2026-03-05T12:00:00Z"}) == marks
    assert not marks.is_due(policy, NOW + timedelta(days=4))
    assert marks.is_due(policy, NOW + timedelta(days=4, seconds=1))
    assert KindMarks.of([], DEFAULT) is None


def empty(policy: Policy) -> Space:
    return Space(
        version=0,
        reload_below=0,
        count=0,
        oldest_created_at=None,
        most_accessed=0,
        stored_total=0,
        relevance_check_at=NEVER,
        relevance_pause_until=0,
        embedder="angles",
        dim=32,
        policy=policy,
    )


LIMITS = st.none() | st.integers(1, 6)
POLICIES = st.builds(
    Policy,
    max_memories=st.integers(1, 12),
    max_age_days=st.integers(1, 9),
    kinds=st.dictionaries(
        st.sampled_from("abc"), st.builds(KindPolicy, max_memories=LIMITS, max_age_days=LIMITS)
    ),
)


@settings(max_examples=200)
@given(POLICIES, st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), max_size=40))
def test_watermarks_let_no_store_pass_that_the_rows_would_have_compacted(
    policy: Policy, stores: list[tuple[str, int]]
) -> None:
    space, kept, now = empty(policy), tuple[Row, ...](), NOW
    for number, (kind, days) in enumerate(stores):
        now += timedelta(days=days)
        new = Row(UUID(int=number), now, kind=kind)
        space = space.after_store(now, Merge(Candidate(new.id, 0, None, (), now)), kind)
        planned = plan([*kept, new], policy, now, just_stored={new.id})
        assert space.is_compaction_due(now) or not planned.removed
        if space.is_compaction_due(now):
            space = space.after_compaction(planned)
        kept = planned.kept

        assert space.count == len(kept) <= policy.max_memories
        for capped, cap in policy.caps.items():
            assert sum(row.kind == capped for row in kept) <= cap
        for row in kept:
            assert row.age_from >= now - timedelta(days=policy.age_days(row.kind))


@given(POLICIES, st.lists(st.sampled_from("abcd"), max_size=30))
def test_a_look_is_only_taken_where_something_goes(policy: Policy, kinds: list[str]) -> None:
    space, kept = empty(policy), tuple[Row, ...]()
    for number, kind in enumerate(kinds):
        new = Row(UUID(int=number), NOW, kind=kind)
        space = space.after_store(NOW, Merge(Candidate(new.id, 0, None, (), NOW)), kind)
        planned = plan([*kept, new], policy, NOW, just_stored={new.id})
        is_due, kept = space.is_compaction_due(NOW), planned.kept
        # What alone is left of a kind or of all was just stored: nothing can go.
        assert is_due == bool(planned.removed)
        if is_due:
            space = space.after_compaction(planned)


def test_watermarks_of_another_policy_are_not_believed() -> None:
    first = Row(UUID(int=1), NOW)
    space = empty(DEFAULT).after_store(NOW, Merge(Candidate(first.id, 0, None, (), NOW)), "fact")
    assert not space.is_compaction_due(NOW)

    changed = replace(space, policy=replace(DEFAULT, low_access_threshold=0.5))
    assert changed.is_compaction_due(NOW)
    looked_at = changed.after_compaction(plan([first], changed.policy, NOW))
    assert not looked_at.is_compaction_due(NOW)
    assert replace(space, policy_digest=None).is_compaction_due(NOW)
