"""The arithmetic of histories: means, the best, and by how much things improved."""

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_schemas.ids import uuid7
from bespoke_workers.programs.history import (
    Part,
    Told,
    average,
    history,
    improvement_percentage,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
ANY_SCORES = st.lists(st.none() | SCORES, min_size=1, max_size=12)


def part(scores: list[float | None], program: str = "support", **changes: object) -> Part:
    """Return what the database tells of versions with these scores."""
    present = [score for score in scores if score is not None]
    fields: dict[str, object] = {
        "program": program,
        "optimizer": "MIPROv2",
        "count": len(scores),
        "scored": len(present),
        "scaled_sum": math.fsum(score * 2.0**-40 for score in present) if present else None,
        "best_score": max(present, default=None),
        "first_saved_at": START,
        "last_saved_at": START + timedelta(hours=len(scores)),
    }
    return Part.model_validate({**fields, **changes})


def told(scores: list[float | None], program: str = "support", best: UUID | None = None) -> Told:
    present = [score for score in scores if score is not None]
    return Told(
        program=program,
        parts=(part(scores, program),),
        first_score=present[0] if present else None,
        last_score=present[-1] if present else None,
        best=(best or uuid7()) if present else None,
        best_score=max(present, default=None),
        best_saved_at=START if present else None,
        points=None,
    )


@pytest.mark.parametrize(
    ("first", "last", "percentage"),
    [
        (0.5, 0.75, 50.0),
        (0.75, 0.5, -33.33),
        (0.5, 0.5, 0.0),
        (-0.5, -0.25, 50.0),
        (-0.5, 0.5, 200.0),
        (0.0, 0.9, None),
        (0.0, 0.0, None),
        (None, 0.9, None),
        (None, None, None),
        (5e-324, 1.0, None),
        (-1.7e308, 1.7e308, None),
    ],
)
def test_improvement_is_told_in_percent_of_the_first_score(
    first: float | None, last: float | None, percentage: float | None
) -> None:
    assert improvement_percentage(first, last) == percentage


@given(first=SCORES, last=SCORES)
def test_improvement_is_up_where_the_score_went_up_and_always_a_number(
    first: float, last: float
) -> None:
    percentage = improvement_percentage(first, last)

    if percentage is None:
        assert first == 0 or not math.isfinite(100 * ((last - first) / abs(first)))
    else:
        assert math.isfinite(percentage)
        assert percentage * (last - first) >= 0


@given(first=st.floats(0.01, 1), last=st.floats(0, 1))
def test_the_first_score_and_the_improvement_make_the_last(first: float, last: float) -> None:
    percentage = improvement_percentage(first, last)

    assert percentage is not None
    assert first * (1 + percentage / 100) == pytest.approx(last, abs=first * 0.005 / 100 + 1e-12)


@given(scores=st.lists(SCORES, min_size=1, max_size=12))
def test_a_mean_lies_among_its_scores_however_large_they_are(scores: list[float]) -> None:
    mean = average([part(list(scores))])

    assert mean is not None
    slack = 1e-9 * max(abs(score) for score in scores) + 1e-290
    assert min(scores) - slack <= mean <= max(scores) + slack


@given(scores=ANY_SCORES, cut=st.integers(0, 12))
def test_a_mean_is_the_same_however_the_versions_are_parted(
    scores: list[float | None], cut: int
) -> None:
    whole = average([part(scores)])
    parted = average([part(scores[:cut]), part(scores[cut:])])

    if whole is None:
        assert parted is None
    else:
        assert parted == pytest.approx(whole, rel=1e-9, abs=1e-9 * max(_sizes(scores)))


def _sizes(scores: list[float | None]) -> list[float]:
    return [abs(score) for score in scores if score is not None]


def test_nothing_saved_is_a_history_without_numbers() -> None:
    empty = history([])

    assert (empty.summary.total_programs, empty.summary.avg_score, empty.summary.best) == (
        0, None, None,
    )  # fmt: skip
    assert empty.summary.first_saved_at is None
    assert empty.optimizer_stats == {}
    assert (empty.trends.improvement_percentage, empty.trends.programs) == (None, {})


@pytest.mark.parametrize("scores", [[None], [None, None], [0.4], [None, 0.4], [0.0, 0.4]])
def test_fewer_than_two_scores_or_a_first_of_zero_are_no_trend(
    scores: list[float | None],
) -> None:
    trends = history([told(scores)]).trends

    assert trends.programs["support"].improvement_percentage is None
    assert trends.programs["support"].count == len(scores)
    assert trends.improvement_percentage is None


def test_what_is_told_of_several_programs_is_their_mean_and_the_best_of_all() -> None:
    best = uuid7()

    both = history([told([0.5, 0.6], "a"), told([0.5, None, 0.9], "b", best), told([0.1], "c")])

    assert both.trends.improvement_percentage == 50.0  # of 20 and 80
    assert (both.summary.best, both.summary.best_score) == (best, 0.9)
    assert both.summary.total_programs == 6
    assert both.summary.avg_score == pytest.approx((0.5 + 0.6 + 0.5 + 0.9 + 0.1) / 5)
    assert both.summary.last_saved_at == START + timedelta(hours=3)


def test_each_optimizer_has_its_figures_and_what_names_none_has_not() -> None:
    one = told([0.5, 0.7])
    several = one.model_copy(
        update={
            "parts": (
                part([0.5, 0.7]),
                part([None], optimizer="BootstrapFewShot"),
                part([1.0], optimizer=None),
            )
        }
    )
    other = told([0.9], "b")

    stats = history([several, other]).optimizer_stats

    assert list(stats) == ["BootstrapFewShot", "MIPROv2"]
    assert (stats["MIPROv2"].count, stats["MIPROv2"].best_score) == (3, 0.9)
    assert stats["MIPROv2"].avg_score == pytest.approx(0.7)
    assert (stats["BootstrapFewShot"].count, stats["BootstrapFewShot"].best_score) == (1, None)
    assert stats["BootstrapFewShot"].avg_score is None


@given(programs=st.lists(ANY_SCORES, max_size=4))
def test_every_number_of_a_history_fits_json(programs: list[list[float | None]]) -> None:
    whole = history([told(scores, str(number)) for number, scores in enumerate(programs)])

    assert type(whole).model_validate_json(whole.model_dump_json()) == whole
    assert whole.summary.total_programs == sum(len(scores) for scores in programs)
