"""How versions got better, or did not: the statement that reads it, and the arithmetic."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, TextualSelect, text

from bespoke_schemas.programs import (
    History,
    OptimizerStats,
    Point,
    ProgramHistory,
    Summary,
    Trend,
    Trends,
)

_SCALE = 2.0**-40
"""Scores are added up scaled by it: no number of them overflows, and no digit is lost."""

_STATEMENT = """
WITH parts AS MATERIALIZED (
    SELECT program, optimizer, count(*) AS count, count(score) AS scored,
        sum(score * {scale}) AS scaled_sum, max(score) AS best_score,
        min(saved_at) AS first_saved_at, max(saved_at) AS last_saved_at
    FROM program_version WHERE {versions} AND {program}
    GROUP BY program, optimizer
)
SELECT each.program, each.parts, first.score AS first_score, last.score AS last_score,
    best.id AS best, best.score AS best_score, best.saved_at AS best_saved_at, newest.points
FROM (SELECT program, json_agg(to_json(parts)) AS parts FROM parts GROUP BY program) AS each
LEFT JOIN LATERAL (
    SELECT score FROM program_version
    WHERE {versions} AND program = each.program AND score IS NOT NULL
    ORDER BY user_id, saved_at, id LIMIT 1
) AS first ON true
LEFT JOIN LATERAL (
    SELECT score FROM program_version
    WHERE {versions} AND program = each.program AND score IS NOT NULL
    ORDER BY user_id DESC, saved_at DESC, id DESC LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT id, score, saved_at FROM program_version
    WHERE {versions} AND program = each.program AND score IS NOT NULL
    ORDER BY user_id DESC, score DESC, saved_at DESC, id DESC LIMIT 1
) AS best ON true
LEFT JOIN active_program AS pointer
    ON pointer.{owner} AND pointer.program = each.program
CROSS JOIN LATERAL (
    SELECT json_agg(to_json(point) ORDER BY saved_at, program_id) AS points
    FROM (
        SELECT id AS program_id, saved_at, score, optimizer,
            EXISTS (
                SELECT FROM activation AS move
                WHERE move.version_id = program_version.id AND move.pointer_id = pointer.id
            ) AS promoted,
            pointer.version_id IS NOT DISTINCT FROM program_version.id AS active
        FROM program_version WHERE {versions} AND program = each.program
        ORDER BY user_id DESC, saved_at DESC, id DESC LIMIT :points
    ) AS point
) AS newest
ORDER BY each.program
"""


class Part(BaseModel):
    """The versions of one program that one optimizer made, in numbers."""

    model_config = ConfigDict(frozen=True)

    program: str
    optimizer: str | None
    count: int
    scored: int
    scaled_sum: float | None
    best_score: float | None
    first_saved_at: datetime
    last_saved_at: datetime


class Told(BaseModel):
    """What the statement tells of one program."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    program: str
    parts: tuple[Part, ...]
    first_score: float | None
    last_score: float | None
    best: UUID | None
    best_score: float | None
    best_saved_at: datetime | None
    points: tuple[Point, ...] | None


def statement(payload: History) -> tuple[TextualSelect, Mapping[str, Any]]:
    """Return the statement for one owner's history, and its parameters."""
    parameters: dict[str, Any] = {"points": payload.points}
    # IS NOT DISTINCT FROM, which takes both, uses no index.
    owner, program = "user_id IS NULL", "true"
    if payload.user_id is not None:
        owner, parameters["user_id"] = "user_id = :user_id", payload.user_id
    if payload.program is not None:
        program, parameters["program"] = "program = :program", payload.program
    versions = owner if payload.checkpoints else f"{owner} AND checkpoint IS NULL"
    sql = text(_STATEMENT.format(owner=owner, versions=versions, program=program, scale=_SCALE))
    return sql.columns(parts=JSON, points=JSON), parameters


def history(told: Sequence[Told]) -> ProgramHistory:
    """Return the history of the programs told of."""
    parts = [part for each in told for part in each.parts]
    trends = {each.program: _trend(each) for each in told}
    percentages = _present(trend.improvement_percentage for trend in trends.values())
    return ProgramHistory(
        summary=_summary(told, parts),
        optimizer_stats=_optimizer_stats(parts),
        trends=Trends(improvement_percentage=_rounded_mean(percentages), programs=trends),
    )


def improvement_percentage(first: float | None, last: float | None) -> float | None:
    """Return by how many percent of ``first`` ``last`` is higher, rounded to two digits.

    None where there is nothing to compare: no score, or a first one of 0, of which anything is
    infinitely many percent.
    """
    if first is None or last is None or first == 0:
        return None
    percentage = 100 * ((last - first) / abs(first))
    return round(percentage, 2) if math.isfinite(percentage) else None


def average(parts: Iterable[Part]) -> float | None:
    """Return the mean of all scores; None where there is none."""
    parts = list(parts)
    scored = sum(part.scored for part in parts)
    if not scored:
        return None
    total = math.fsum(_present(part.scaled_sum for part in parts))
    return total / scored / _SCALE


def _summary(told: Sequence[Told], parts: Sequence[Part]) -> Summary:
    best = _best(told)
    return Summary(
        total_programs=sum(part.count for part in parts),
        avg_score=average(parts),
        best_score=best.best_score if best else None,
        best=best.best if best else None,
        first_saved_at=min((part.first_saved_at for part in parts), default=None),
        last_saved_at=max((part.last_saved_at for part in parts), default=None),
    )


def _best(told: Sequence[Told]) -> Told | None:
    """Return the program whose best version is the best of all, the newest of equals."""
    scored = [each for each in told if each.best is not None]
    return max(scored, key=attrgetter("best_score", "best_saved_at", "best"), default=None)


def _optimizer_stats(parts: Sequence[Part]) -> dict[str, OptimizerStats]:
    by_optimizer: dict[str, list[Part]] = {}
    for part in parts:
        if part.optimizer is not None:
            by_optimizer.setdefault(part.optimizer, []).append(part)
    return {
        optimizer: OptimizerStats(
            count=sum(part.count for part in its),
            best_score=max(_present(part.best_score for part in its), default=None),
            avg_score=average(its),
        )
        for optimizer, its in sorted(by_optimizer.items())
    }


def _trend(told: Told) -> Trend:
    scored = sum(part.scored for part in told.parts)
    percentage = improvement_percentage(told.first_score, told.last_score) if scored > 1 else None
    return Trend(
        improvement_percentage=percentage,
        first_score=told.first_score,
        last_score=told.last_score,
        best_score=told.best_score,
        count=sum(part.count for part in told.parts),
        points=told.points or (),
    )


def _rounded_mean(percentages: Sequence[float]) -> float | None:
    if not percentages:
        return None
    return round(math.fsum(each / len(percentages) for each in percentages), 2)


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
