"""Size compaction removes the oldest, or first what another memory says too and nobody reads."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bespoke_workers.memories import lexical
from bespoke_workers.memories.eviction import Neighbours, candidates, evicted
from bespoke_workers.memories.index import UserIndex
from bespoke_workers.memories.neighbours import LOOKED_UP_WHOLE, MOST_LOOKUPS, looked_up, nearest
from bespoke_workers.memories.plan import Row, plan
from bespoke_workers.memories.policy import Policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def rows(n: int) -> list[Row]:
    """`n` memories, one a minute, the last of them just now."""
    return [Row(UUID(int=i + 1), NOW - timedelta(minutes=n - 1 - i)) for i in range(n)]


def redundant(max_memories: int) -> Policy:
    return Policy(max_memories=max_memories, eviction="redundant")


def alike(*pairs: tuple[int, int, float]) -> Neighbours:
    """Name similar memories by their numbers, both ways."""
    hits: dict[UUID, list[tuple[UUID, float]]] = {}
    for a, b, cosine in pairs:
        hits.setdefault(UUID(int=a), []).append((UUID(int=b), cosine))
        hits.setdefault(UUID(int=b), []).append((UUID(int=a), cosine))
    return {one: sorted(found, key=lambda hit: -hit[1]) for one, found in hits.items()}


def gone(memories: Sequence[Row], policy: Policy, neighbours: Neighbours) -> list[int]:
    return [one.int for one in evicted(memories, policy, neighbours=neighbours).all]


def test_of_two_that_are_alike_the_older_goes_before_anything_else() -> None:
    neighbours = alike((7, 9, 0.8), (4, 5, 0.9), (1, 2, 0.2))

    assert gone(rows(11), redundant(10), neighbours) == [4, 7, 1]


def test_of_a_cluster_one_stays_until_all_others_are_less_alike() -> None:
    neighbours = alike((5, 6, 0.9), (6, 7, 0.9), (5, 7, 0.9), (8, 9, 0.5))

    assert gone(rows(11), redundant(10), neighbours) == [5, 6, 8]


def test_what_is_read_goes_last_however_redundant_it_is() -> None:
    memories = [Row(row.id, row.created_at, access_count=row.id.int < 10) for row in rows(11)]

    assert gone(memories, redundant(10), alike((1, 2, 0.99), (10, 11, 0.3))) == [10, 11, 1]


def test_what_is_not_known_to_be_like_another_goes_by_its_last_touch() -> None:
    assert gone(rows(11), redundant(10), {}) == [1, 2, 3]


def test_without_a_look_at_neighbours_the_oldest_go() -> None:
    assert [one.int for one in evicted(rows(11), redundant(10)).all] == [1, 2, 3]
    assert gone(rows(11), Policy(max_memories=10), alike((8, 9, 0.9))) == [1, 2, 3]


def test_only_what_can_go_is_looked_up_and_only_where_something_must() -> None:
    memories = rows(11)

    assert candidates(memories, redundant(11)) == []
    assert candidates(memories, redundant(10), just_stored={memories[3].id}) == [
        row.id for row in memories if row != memories[3]
    ]


def test_of_many_memories_half_are_looked_up_up_to_a_bound() -> None:
    def count(n: int) -> int:
        return len(looked_up([UUID(int=i) for i in range(n)]))

    assert count(LOOKED_UP_WHOLE) == LOOKED_UP_WHOLE
    assert count(3 * LOOKED_UP_WHOLE) == 3 * LOOKED_UP_WHOLE // 2
    assert count(3 * MOST_LOOKUPS) == MOST_LOOKUPS
    assert looked_up([UUID(int=i) for i in range(LOOKED_UP_WHOLE + 1)])[-1].int == (
        LOOKED_UP_WHOLE - 1
    )


@st.composite
def spaces(draw: Any) -> tuple[list[Row], Neighbours]:
    memories = [
        Row(UUID(int=i + 1), NOW - timedelta(days=draw(st.integers(0, 3))), draw(st.integers(0, 3)))
        for i in range(draw(st.integers(1, 30)))
    ]
    ids = st.integers(1, len(memories))
    cosine = st.integers(0, 4).map(lambda fifth: fifth / 5)
    pairs = draw(st.dictionaries(st.tuples(ids, ids).filter(lambda p: p[0] < p[1]), cosine))
    return memories, alike(*((a, b, cosine) for (a, b), cosine in pairs.items()))


@settings(max_examples=150)
@given(spaces(), st.integers(1, 30), st.booleans(), st.data())
def test_it_bounds_spares_the_newest_and_depends_on_no_order(
    space: tuple[list[Row], Neighbours], limit: int, force: bool, draw: Any
) -> None:
    memories, neighbours = space
    policy = redundant(limit)
    just_stored = draw.draw(st.sampled_from([row.id for row in memories]))
    shuffled = draw.draw(st.permutations(memories))

    def planned(given_rows: Sequence[Row]) -> tuple[UUID, ...]:
        result = plan(
            given_rows, policy, NOW, just_stored={just_stored}, force=force, neighbours=neighbours
        )
        assert len(result.kept) <= limit
        assert just_stored in {row.id for row in result.kept}
        oldest = plan(given_rows, Policy(max_memories=limit), NOW, just_stored={just_stored})
        assert force or len(result.size) == len(oldest.size)
        return result.size

    assert planned(memories) == planned(shuffled)


@settings(max_examples=100)
@given(st.integers(1, 12), st.integers(0, 12), st.data())
def test_one_of_each_pair_goes_before_both_of_any(pairs: int, single: int, draw: Any) -> None:
    order = draw.draw(st.permutations(range(1, 2 * pairs + single + 1)))
    twins = [(order[2 * i], order[2 * i + 1]) for i in range(pairs)]
    memories = rows(2 * pairs + single)
    neighbours = alike(*((a, b, 0.5 + i / 100) for i, (a, b) in enumerate(twins)))
    excess = draw.draw(st.integers(1, pairs))
    limit = next(n for n in range(1, 999) if n * 4 // 5 >= len(memories) - excess)
    removed = set(evicted(memories, redundant(limit), force=True, neighbours=neighbours).all)

    assert len(removed) <= excess
    for a, b in twins:
        assert not {UUID(int=a), UUID(int=b)} <= removed
    assert removed <= {UUID(int=one) for pair in twins for one in pair}


def test_neighbours_are_the_same_whether_or_not_they_are_indexed_yet() -> None:
    angles = np.radians([2.0 * place for place in range(12)])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    by_id = dict(zip((row.id for row in rows(12)), vectors, strict=True))
    whole = nearest(by_id, UserIndex(list(by_id), vectors, 2), {})

    for known in (2, 9, 11):
        index = UserIndex(list(by_id)[:known], vectors[:known], 2)
        others = dict(list(by_id.items())[known:])
        assert nearest(by_id, index, others) == whole

    assert {len(others) for others in whole.values()} == {8}


# Evidence: what is still known at four fifths of the size

SAID_TWICE = ("My {0} is called {1}", "{1} is the name of my {0}")
SAID_ONCE = "I keep the {0} in the {1}"
RELATIVES = (
    "sister", "brother", "mother", "father", "cousin", "uncle", "aunt", "neighbour", "teacher",
    "dentist", "doctor", "boss", "dog", "cat", "horse", "boat", "grandson", "tailor", "barber",
    "lawyer",
)  # fmt: skip
NAMES = (
    "Clara", "Bruno", "Ilse", "Marek", "Noor", "Pavel", "Quinn", "Rosa", "Sven", "Tilda", "Umar",
    "Vera", "Wim", "Xenia", "Yusuf", "Zora", "Anton", "Bela", "Carmen", "Dario",
)  # fmt: skip
THINGS = (
    "ladder", "passport", "violin", "spare key", "drill", "tent", "receipts", "lamp", "skis",
    "paint", "sewing kit", "camera", "map", "candles", "rope", "kettle", "globe", "anvil",
    "saddle", "microscope",
)  # fmt: skip
PLACES = (
    "garage", "blue drawer", "attic", "cellar", "hall", "shed", "office", "kitchen", "wardrobe",
    "car", "pantry", "studio", "bookcase", "safe", "bathroom", "porch", "suitcase", "basement",
    "workshop", "locker",
)  # fmt: skip


def conversation() -> list[tuple[str, str]]:
    """What somebody says and which fact it holds: twenty said once, then twenty said twice."""
    once = [(SAID_ONCE.format(*pair), pair[0]) for pair in zip(THINGS, PLACES, strict=True)]
    twice = [
        (wording.format(*pair), pair[0])
        for wording in SAID_TWICE
        for pair in zip(RELATIVES, NAMES, strict=True)
    ]
    return once + twice


def facts_kept(policy: Policy) -> int:
    said = conversation()
    memories = rows(len(said))
    vectors = np.asarray(lexical.embed([text for text, _ in said])).astype(np.float16)
    by_id = dict(zip((row.id for row in memories), vectors, strict=True))
    index = UserIndex(list(by_id), vectors, vectors.shape[1])
    kept = plan(memories, policy, NOW, force=True, neighbours=nearest(by_id, index, {})).kept
    return len({said[row.id.int - 1][1] for row in kept})


def test_at_four_fifths_of_the_size_more_facts_are_left_than_by_age() -> None:
    facts, size = len(RELATIVES) + len(THINGS), len(conversation())
    by_age, by_redundancy = (
        facts_kept(Policy(max_memories=size, eviction=one)) for one in ("oldest", "redundant")
    )

    assert (facts, size) == (40, 60)
    assert by_age == 28  # twelve facts that were said once are the oldest
    assert by_redundancy == 37  # the others' wording is like that of another fact
