"""Whether a new version is better than the one in use, or only luckier."""

from collections.abc import Iterator, Sequence
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.optimization.judging.comparison import LUCK, Score, compare, leads
from bespoke_workers.optimization.judging.luck import chance

FALSE_PROMOTIONS = 0.11
"""The share of programs as good as the one in use that are promoted; docs/decisions/0028."""

CLOSE = "not clearly better: 0.500 before, 0.750 after, on 4 held out"

scores = st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=12)


def outcomes(won: int, lost: int, same: int = 0) -> tuple[Sequence[Score], Sequence[Score]]:
    """Return the scores of two versions, the second better so often and worse so often."""
    return [0.0] * won + [1.0] * (lost + same), [1.0] * won + [0.0] * lost + [1.0] * same


def better(won: int, lost: int, same: int = 0) -> bool:
    comparison = compare(*outcomes(won, lost, same))
    assert comparison is not None
    return comparison.better


def test_a_clear_gain_is_better_and_one_within_the_noise_is_not() -> None:
    assert [better(won, 0, 3) for won in (0, 1, 2, 3, 4)] == [False, False, False, True, True]
    assert [better(won, 2) for won in (2, 4, 5, 6)] == [False, False, False, True]
    assert not better(0, 3)


@pytest.mark.parametrize(
    ("won", "lost", "same", "reason"),
    [
        (6, 0, 6, "better: 0.500 before, 1.000 after, on 12 held out"),
        (3, 3, 0, "not better: 0.500 before, 0.500 after, on 6 held out"),
        (0, 2, 2, "not better: 1.000 before, 0.500 after, on 4 held out"),
        (2, 1, 1, f"{CLOSE}; luck alone does as well in 31% of cases"),
    ],
)
def test_the_reason_says_what_was_found(won: int, lost: int, same: int, reason: str) -> None:
    comparison = compare(*outcomes(won, lost, same))
    assert comparison is not None
    assert comparison.reason == reason


def test_an_example_that_was_not_answered_for_both_versions_does_not_count() -> None:
    comparison = compare([None, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, None])
    assert comparison is not None
    assert (comparison.before, comparison.after, comparison.held_out) == (0.5, 1.0, 2)
    assert compare([None, 1.0], [1.0, None]) is None


def shares(count: int, differing: float) -> Iterator[tuple[int, int, float]]:
    """Yield how often two equal programs differ so, where they differ on such a share."""
    for differ in range(count + 1):
        so_many = comb(count, differ) * differing**differ * (1 - differing) ** (count - differ)
        for won in range(differ + 1):
            yield won, differ - won, so_many * comb(differ, won) / 2**differ


@pytest.mark.parametrize("count", [4, 6, 10, 12, 18])
def test_of_programs_that_are_equally_good_hardly_one_in_ten_is_promoted(count: int) -> None:
    promoted = {
        (won, differ - won): better(won, differ - won, count - differ)
        for differ in range(count + 1)
        for won in range(differ + 1)
    }
    for differing in (0.1, 0.3, 0.5):
        those = shares(count, differing)
        falsely = sum(share for won, lost, share in those if promoted[won, lost])
        assert falsely <= FALSE_PROMOTIONS


@given(scores, st.integers(min_value=0, max_value=11))
def test_another_program_to_choose_from_never_makes_a_gain_more_certain(
    differences: list[float], turned: int
) -> None:
    other = differences[turned % len(differences) :] + differences[: turned % len(differences)]
    assert chance(differences, [other]) >= chance(differences) - 1e-9
    assert chance(differences, [differences]) == pytest.approx(chance(differences))


@given(scores)
def test_chances_are_chances_and_the_same_each_time(differences: list[float]) -> None:
    assert 0 <= chance(differences) <= 1
    assert chance(differences) == chance(differences)
    opposite = [-one for one in differences]
    assert chance(differences) + chance(opposite) == pytest.approx(1)


def test_a_graded_metric_is_judged_by_how_much_each_example_gained() -> None:
    assert chance([0.5, 0.4, 0.6, 0.5]) == pytest.approx(1 / 32)
    assert chance([0.5, -0.5, 0.01, -0.01]) > LUCK


def test_many_examples_make_a_small_gain_certain() -> None:
    assert not better(6, 4, 10)
    assert better(60, 40)


def test_the_lead_is_taken_by_more_than_half_a_standard_error_alone() -> None:
    def taken(won: int, lost: int, same: int) -> bool:
        ahead, other = outcomes(won, lost, same)
        return leads(ahead, other)

    assert [taken(won, 0, 10) for won in (0, 1, 2)] == [False, True, True]
    assert [taken(won, 2, 10) for won in (2, 3, 4)] == [False, False, True]
    assert not leads([None, 0.0], [1.0, 1.0])
    assert leads([0.0, 0.0], [1.0, 1.0])
