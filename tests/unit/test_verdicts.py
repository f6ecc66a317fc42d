"""Many newcomers are merged as one after the other would be."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from bespoke_schemas.ids import uuid7
from bespoke_workers.memories.duplicates import Candidate, merge
from bespoke_workers.memories.newcomers import memory_id
from bespoke_workers.memories.verdicts import decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=90)


def memory(number: int, *tags: str, accesses: int = 0, place: int = 0) -> Candidate:
    accessed = NOW - timedelta(days=number) if accesses else None
    return Candidate(
        UUID(int=number), accesses, accessed, tags, NOW + timedelta(microseconds=place)
    )


def test_what_is_like_nothing_is_left_alone() -> None:
    new = [memory(1), memory(2)]

    verdicts = decide(new, {}, {}, LONG_AGO)

    assert [merged.kept for merged in verdicts.merges] == new
    assert (verdicts.replaced, verdicts.changed) == ({}, {})


def test_a_newcomer_takes_the_place_of_an_earlier_one() -> None:
    first, second = memory(1, "a"), memory(2, "b", place=1)
    likes = {first.id: [(second.id, 0.99)], second.id: [(first.id, 0.99)]}

    verdicts = decide([first, second], {}, likes, LONG_AGO)

    assert verdicts.replaced == {first.id: second.id}
    assert verdicts.cosines == {first.id: 0.99}
    assert verdicts.changed[second.id].tags == ("b", "a")


def test_along_a_chain_the_last_one_stands_for_all() -> None:
    old = memory(9, "old")
    first, second = memory(1, "a"), memory(2, "b", place=1)
    likes = {first.id: [(old.id, 1.0)], second.id: [(first.id, 0.97)]}

    verdicts = decide([first, second], {old.id: old}, likes, LONG_AGO)

    assert verdicts.kept_ids == {old.id: second.id, first.id: second.id}
    assert list(verdicts.changed) == [second.id]
    assert verdicts.changed[second.id].tags == ("b", "a", "old")


def test_the_more_accessed_one_takes_in_every_newcomer() -> None:
    old = memory(9, "old", accesses=3)
    first, second = memory(1, "a"), memory(2, "b", place=1)
    likes = {first.id: [(old.id, 1.0)], second.id: [(old.id, 0.98), (first.id, 0.98)]}

    verdicts = decide([first, second], {old.id: old}, likes, LONG_AGO)

    assert verdicts.kept_ids == {first.id: old.id, second.id: old.id}
    assert verdicts.changed[old.id].tags == ("old", "a", "b")
    assert verdicts.changed[old.id].access_count == 3


@given(drawing=st.data())
@settings(max_examples=200)
def test_what_stays_is_what_one_store_after_the_other_leaves(drawing: st.DataObject) -> None:
    topics = drawing.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    accesses = drawing.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    present = {
        one.id: one for one in (memory(50 + t, str(t), accesses=accesses[t]) for t in range(4))
    }
    new = [memory(1 + place, f"new{place}", place=place) for place in range(len(topics))]
    topic_of = {one.id: topics[place] for place, one in enumerate(new)}
    topic_of |= {UUID(int=50 + topic): topic for topic in range(4)}
    likes = {
        one.id: [
            (other, 1.0)
            for other in topic_of
            if other != one.id and topic_of[other] == topic_of[one.id]
        ]
        for one in new
    }

    verdicts = decide(new, present, likes, LONG_AGO)

    left = dict(present)
    for one in new:
        merged = merge(one, [left[o] for o, _ in likes[one.id] if o in left], LONG_AGO)
        left = {key: value for key, value in left.items() if value not in merged.gone}
        left[merged.kept.id] = merged.kept
    assert {**present, **{one.id: one for one in new}}.keys() - verdicts.replaced.keys() == set(
        left
    )
    assert {**left, **verdicts.changed} == left
    assert len({topic_of[kept] for kept in left}) == len(left)
    assert sum(one.access_count for one in left.values()) == sum(accesses)


def test_the_ids_of_a_job_are_its_own_and_in_order() -> None:
    job, other = uuid7(), uuid7()

    ids = [memory_id(job, place) for place in range(1000)]

    assert ids == [memory_id(job, place) for place in range(1000)]
    assert ids == sorted(ids)
    assert {one.version for one in ids} == {7}
    assert {one.variant for one in ids} == {job.variant}
    assert not set(ids) & {memory_id(other, place) for place in range(1000)}
