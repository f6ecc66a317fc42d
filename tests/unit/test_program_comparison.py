"""What is between two versions: of the first as against the second."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_schemas.ids import uuid7
from bespoke_schemas.programs import Compare, VersionSummary
from bespoke_workers.errors import Refused
from bespoke_workers.programs.comparison import Shape, between, compared, differing

START = datetime(2026, 11, 1, tzinfo=UTC)
SCORES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
HOURS = st.integers(-100_000, 100_000)
SHAPES = st.dictionaries(
    st.sampled_from(["classify", "explain", "self"]),
    st.builds(Shape, st.integers(0, 3), *[st.sampled_from(["a", "b"])] * 3),
)


def version(score: float | None = None, hours: float = 0, **changes: Any) -> VersionSummary:
    fields: dict[str, Any] = {
        "program_id": uuid7(), "user_id": "ada", "program": "support",
        "signature": "text -> label", "optimizer": None, "score": score, "tags": (),
        "description": "", "parent_id": None, "size_bytes": 2, "active": False,
        "saved_at": START + timedelta(hours=hours),
    }  # fmt: skip
    return VersionSummary.model_validate({**fields, **changes})


def test_the_first_is_told_as_against_the_second() -> None:
    older, newer = version(0.25, hours=0), version(0.75, hours=36)

    forth, back = between(older, newer), between(newer, older)

    assert (forth.score_difference, back.score_difference) == (-0.5, 0.5)
    assert forth.better_program == back.better_program == newer.program_id
    assert (forth.age_difference_hours, back.age_difference_hours) == (36.0, -36.0)
    assert forth.same_program


@pytest.mark.parametrize("scores", [(None, 0.5), (0.5, None), (None, None)])
def test_without_both_scores_neither_is_better(scores: tuple[float | None, float | None]) -> None:
    comparison = between(version(scores[0]), version(scores[1]))

    assert (comparison.score_difference, comparison.better_program) == (None, None)


def test_of_equals_none_is_better() -> None:
    comparison = between(version(0.5), version(0.5))

    assert (comparison.score_difference, comparison.better_program) == (0.0, None)


def test_versions_of_two_programs_are_told_to_be() -> None:
    assert not between(version(program="support"), version(program="triage")).same_program


@given(scores=st.tuples(SCORES, SCORES), hours=st.tuples(HOURS, HOURS))
def test_the_other_way_round_everything_is_opposite(
    scores: tuple[float | None, float | None], hours: tuple[int, int]
) -> None:
    one, other = version(scores[0], hours[0]), version(scores[1], hours[1])

    forth, back = between(one, other), between(other, one)

    assert forth.better_program == back.better_program
    assert forth.age_difference_hours == -back.age_difference_hours
    if forth.score_difference is None:
        assert back.score_difference is None
        assert None in scores or math.isinf(scores[0] - scores[1])  # type: ignore[operator]  # neither is None then
    else:
        assert forth.score_difference == -(back.score_difference or 0.0)
    assert type(forth).model_validate_json(forth.model_dump_json()) == forth


@given(first=SHAPES, second=SHAPES)
def test_only_predictors_that_differ_are_told_of(
    first: dict[str, Shape], second: dict[str, Shape]
) -> None:
    told = differing(first, second)

    assert set(told) == {
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    }
    for name, difference in told.items():
        assert (difference.demos_1 is None) == (name not in first)
        assert (difference.demos_2 is None) == (name not in second)


def test_what_changed_in_a_predictor_is_told_one_by_one() -> None:
    before, after = Shape(2, "d", "i", "f"), Shape(3, "e", "i", "f")

    (difference,) = differing({"self": before}, {"self": after}).values()

    assert (difference.demos_1, difference.demos_2, difference.demos_changed) == (2, 3, True)
    assert not difference.instructions_changed
    assert not difference.fields_changed


def test_a_version_that_is_not_there_is_named() -> None:
    one, missing = version(), uuid7()
    payload = Compare(program_id_1=one.program_id, program_id_2=missing, user_id="ada")

    with pytest.raises(Refused, match=f"no version {missing} that this user may see"):
        compared(payload, [(one, {})])
