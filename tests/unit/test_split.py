"""Which examples are held out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.optimization.judging.split import crossed, held_out_count, split


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


@given(st.integers(min_value=0, max_value=40), st.text())
def test_crossed_every_example_is_held_out_once_and_learned_from_otherwise(
    count: int, seed: str
) -> None:
    examples = numbered(count)
    splits = crossed(examples, seed)
    held_out = [one for each in splits for one in each.held_out]
    assert sorted(held_out, key=lambda one: one["number"]) == examples
    for each in splits:
        assert sorted([*each.train, *each.held_out], key=lambda one: one["number"]) == examples
        assert len(each.held_out) <= -(-count // 5)
