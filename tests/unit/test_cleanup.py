"""What a cleanup deletes, and what it never does."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.programs.cleanup import Candidate, surplus

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCORES = (
    st.none()
    | st.sampled_from([0.0, 0.25, 0.5, 1.0, -1e300, 1e300, 5e-324])
    | st.floats(allow_nan=False, allow_infinity=False)
)
AGES = st.integers(0, 5) | st.floats(0, 700_000)


def version(
    number: int, score: float | None, age_days: float, *, protected: bool = False
) -> Candidate:
    return Candidate(UUID(int=number), score, NOW - timedelta(days=age_days), protected)


@st.composite
def libraries(draw: st.DrawFn) -> list[Candidate]:
    drawn = draw(st.lists(st.tuples(SCORES, AGES, st.booleans()), max_size=12))
    return [
        version(number, score, age, protected=protected)
        for number, (score, age, protected) in enumerate(drawn)
    ]


LIBRARIES = libraries()


def numbers(candidates: list[Candidate]) -> list[int]:
    return [one.id.int for one in candidates]


def gone(library: list[Candidate], max_stored: int) -> list[int]:
    return numbers(surplus(library, max_stored))


def test_performance_counts_seven_parts_and_recency_three() -> None:
    library = [
        version(0, 1.0, 100),  # 0.7 + 0.0, the best
        version(1, 0.0, 0),  # 0.0 + 0.3
        version(2, 0.5, 50),  # 0.35 + 0.15
        version(3, 0.5, 20),  # 0.35 + 0.24
        version(4, 0.2, 0),  # 0.14 + 0.3
    ]

    assert gone(library, 1) == [1, 4, 2, 3]
    assert gone(library, 3) == [1, 4]
    assert gone(library, 5) == []


def test_among_equal_scores_the_newest_stay_and_among_equal_ages_the_best() -> None:
    assert gone([version(age, 0.5, age) for age in range(5)], 2) == [4, 3, 2]
    assert gone([version(n, n / 10, 7) for n in range(5)], 2) == [0, 1, 2]


def test_a_version_without_a_score_counts_as_one_of_the_lowest() -> None:
    scored = [version(0, 0.9, 3), version(1, 0.1, 3)]

    assert gone([*scored, version(2, None, 4)], 2) == [2]
    assert gone([*scored, version(2, None, 1)], 2) == [1]


def test_where_none_has_a_score_the_newest_stay() -> None:
    assert gone([version(age, None, age) for age in range(4)], 2) == [3, 2]


def test_what_is_protected_is_kept_first_and_counts() -> None:
    library = [
        version(0, 0.9, 0),
        version(1, 0.8, 0),
        version(2, 0.1, 90, protected=True),
        version(3, 0.0, 90, protected=True),
    ]

    assert gone(library, 3) == [1]
    assert gone(library, 1) == [1]


@pytest.mark.parametrize("score", [1e9, 1e300, -1e300])
def test_an_absurd_score_does_not_break_the_rule(score: float) -> None:
    library = [version(0, score, 9), version(1, 0.5, 5), version(2, 0.4, 1)]

    assert len(gone(library, 2)) == 1


@given(library=LIBRARIES, max_stored=st.integers(1, 14))
def test_as_many_are_left_as_may_be(library: list[Candidate], max_stored: int) -> None:
    left = set(numbers(library)) - set(gone(library, max_stored))

    protected = {one.id.int for one in library if one.is_protected}
    best = best_of(library)
    assert len(left) == min(len(library), max(max_stored, len(protected | best)))
    assert protected | best <= left


def best_of(library: list[Candidate]) -> set[int]:
    scored: list[Any] = [one for one in library if one.score is not None]
    best = max(scored, key=lambda one: (one.score, one.saved_at, one.id), default=None)
    return set() if best is None else {best.id.int}


@given(library=LIBRARIES, max_stored=st.integers(1, 14))
def test_what_is_left_is_worth_more_than_what_goes(
    library: list[Candidate], max_stored: int
) -> None:
    """Held against the formula in floating point, where scores are ordinary ones."""
    library = [
        Candidate(
            one.id,
            None if one.score is None else round(one.score % 1, 2),
            one.saved_at.replace(microsecond=0),
        )
        for one in library
    ]
    deleted = surplus(library, max_stored)
    left = [one for one in library if one not in deleted]
    free = [one for one in left if one.id.int not in best_of(library)]

    worths = by_formula(library)
    for one in free:
        assert all(worths[one.id] >= worths[other.id] - 1e-3 for other in deleted)


def by_formula(library: list[Candidate]) -> dict[UUID, float]:
    def scaled(values: dict[UUID, float | None]) -> dict[UUID, float]:
        known = [value for value in values.values() if value is not None]
        low, spread = min(known, default=0), max(known, default=0) - min(known, default=0)
        if not spread:
            return {key: float(value is not None) for key, value in values.items()}
        return {
            key: 0.0 if value is None else (value - low) / spread for key, value in values.items()
        }

    scores = scaled({one.id: one.score for one in library})
    recencies = scaled({one.id: one.saved_at.timestamp() for one in library})
    return {key: 0.7 * scores[key] + 0.3 * recencies[key] for key in scores}


@given(library=LIBRARIES, max_stored=st.integers(1, 14))
def test_a_second_cleanup_deletes_nothing(library: list[Candidate], max_stored: int) -> None:
    deleted = surplus(library, max_stored)

    assert surplus([one for one in library if one not in deleted], max_stored) == []


@given(library=LIBRARIES, max_stored=st.integers(1, 14), seed=st.randoms())
def test_the_order_in_which_versions_come_does_not_matter(
    library: list[Candidate], max_stored: int, seed: Any
) -> None:
    shuffled = list(library)
    seed.shuffle(shuffled)

    assert surplus(shuffled, max_stored) == surplus(library, max_stored)
