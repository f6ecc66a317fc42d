"""Which examples are held out, and what two scores over them say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.optimization.comparison import compare
from bespoke_workers.optimization.split import held_out_count, split


def numbered(count: int) -> list[dict[str, int]]:
    return [{"number": number} for number in range(count)]


@pytest.mark.parametrize(
    ("examples", "held_out"),
    [(0, 0), (1, 0), (4, 2), (10, 5), (17, 6), (40, 12), (200, 60), (400, 100), (10_000, 100)],
)
def test_so_many_are_held_out(examples: int, held_out: int) -> None:
    assert held_out_count(examples) == held_out


@given(st.integers(min_value=0, max_value=600), st.text())
def test_every_example_is_on_one_side_and_in_its_order(count: int, seed: str) -> None:
    examples = numbered(count)
    halves = split(examples, seed)
    assert len(halves.held_out) == held_out_count(count)
    assert sorted([*halves.train, *halves.held_out], key=lambda one: one["number"]) == examples
    for half in (halves.train, halves.held_out):
        assert list(half) == sorted(half, key=lambda one: one["number"])


def test_the_seed_and_nothing_else_decides() -> None:
    assert split(numbered(50), "ada/support") == split(numbered(50), "ada/support")
    assert split(numbered(50), "ada/support") != split(numbered(50), "bob/support")


def test_hardly_any_example_comes_to_be_held_out_after_it_was_learned_from() -> None:
    learned_from = {one["number"] for one in split(numbered(100), "ada/support").train}
    later = {one["number"] for one in split(numbered(130), "ada/support").held_out}
    assert len(learned_from & later) <= 5


def test_only_a_higher_score_is_better() -> None:
    for before, after, better in [(0.5, 0.75, True), (0.5, 0.5, False), (0.75, 0.5, False)]:
        comparison = compare([before] * 4, [after] * 4)
        assert comparison is not None
        assert comparison.better is better
        assert comparison.reason == (
            f"{'better' if better else 'not better'}: {before:.3f} before, {after:.3f} after, "
            "on 4 held out"
        )


def test_an_example_that_was_not_answered_for_both_versions_does_not_count() -> None:
    comparison = compare([None, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, None])
    assert comparison is not None
    assert (comparison.before, comparison.after, comparison.held_out) == (0.5, 1.0, 2)
    assert compare([None, 1.0], [1.0, None]) is None
