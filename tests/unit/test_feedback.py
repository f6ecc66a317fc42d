"""What a feedback makes, what it may hold, and when enough of it makes an optimization due."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bespoke_schemas import uuid7
from bespoke_schemas.examples import Feedback
from bespoke_workers.errors import Refused
from bespoke_workers.learning.checking import check_feedback, wanted
from bespoke_workers.optimization.reoptimization import follow_up, missing
from bespoke_workers.programs import registry

NUMBERS = st.integers(0, 400)


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.Program("answers", dict, ("question", "context"), max)
    monkeypatch.setitem(registry._registered, "answers", known)


def said(*, positive: bool = True, **fields: Any) -> Feedback:
    given = {
        "inputs": {"question": "how many?", "context": "four"},
        "outputs": {"answer": "three"},
        **fields,
    }
    return Feedback(user_id="ada", program="answers", positive=positive, **given)


def test_what_is_good_is_an_example_as_it_is() -> None:
    assert wanted(said()) == {"question": "how many?", "context": "four", "answer": "three"}


def test_what_is_corrected_is_an_example_with_the_correction_alone() -> None:
    outputs = {"answer": "three", "reasoning": "one and two"}
    feedback = said(positive=False, outputs=outputs, correction={"answer": "four"})

    assert wanted(feedback) == {"question": "how many?", "context": "four", "answer": "four"}


def test_what_is_only_bad_is_no_example() -> None:
    assert wanted(said(positive=False)) is None


def test_what_is_good_takes_no_correction() -> None:
    with pytest.raises(ValidationError, match="give positive=False"):
        said(correction={"answer": "four"})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"inputs": {"question": "q"}}, "has no 'context'"),
        (
            {"inputs": {"question": "q", "contxt": "c"}},
            "has no 'context' and 'contxt', which it does not take",
        ),
        ({"outputs": {"question": "q"}}, "outputs hold 'question', an input"),
        ({"positive": False, "correction": {"context": "c"}}, "correction hold 'context'"),
        (
            {"inputs": {"question": "q" * 40_000, "context": "c"}, "outputs": {"a": "a" * 40_000}},
            "at most 65536 are kept",
        ),
    ],
)
def test_what_is_of_no_use_is_refused_by_its_names(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        check_feedback(said(**fields))


def test_a_refusal_names_a_few_fields_and_no_contents() -> None:
    many = {f"field {number}": "a secret" for number in range(200)}

    with pytest.raises(Refused, match="and 195 more") as refused:
        check_feedback(said(inputs={"question": "a secret", "context": "a secret", **many}))

    assert "a secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("count", "new", "fewest", "expected"),
    [
        (0, 0, 10, 10),
        (9, 9, 10, 1),
        (10, 10, 10, 0),
        (30, 3, 10, 7),
        (30, 25, 10, 0),
        (4, 12, 10, 6),  # many were replaced: there is nothing to learn from yet
        (4, 12, 4, 1),  # there is, but not as much as is asked for at least
        (6, 12, 4, 0),
        (300, 50, None, None),
    ],
)
def test_an_optimization_is_due_after_enough_that_is_new(
    count: int, new: int, fewest: int | None, expected: int | None
) -> None:
    assert missing(every=10, minimum=5, fewest=fewest, count=count, new=new) == expected


def test_none_is_ever_due_where_that_is_switched_off() -> None:
    assert missing(every=0, minimum=1, fewest=4, count=300, new=300) is None


@given(NUMBERS, NUMBERS, st.integers(1, 50), st.integers(1, 50), st.integers(4, 20))
def test_none_is_due_below_the_minimum_or_with_less_than_is_asked(
    count: int, new: int, every: int, minimum: int, fewest: int
) -> None:
    left = missing(every=every, minimum=minimum, fewest=fewest, count=count, new=new)

    assert left is not None
    assert (left == 0) is (count >= minimum and count >= fewest and new >= every)


@pytest.mark.parametrize("cause", [uuid7(), uuid4()])
def test_what_a_job_causes_has_the_same_id_each_time_and_its_cause_s_age(cause: UUID) -> None:
    caused = follow_up(cause)

    assert caused == follow_up(cause) != cause
    assert (caused.version, caused.variant) == (cause.version, cause.variant)
    assert caused.hex[:12] == cause.hex[:12]
    assert caused != follow_up(uuid7())
