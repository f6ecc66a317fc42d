"""Which versions are too many: the rule of a cleanup, over plain values.

The statement ``cleanup_statements.SURPLUS`` is the same rule in SQL. Both reckon in whole
numbers, so that no two roundings can tell them apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

SCORE_WEIGHT: Final = 7
RECENCY_WEIGHT: Final = 3
"""Of ten: 70 % performance, 30 % recency."""
POINTS: Final = 1_000_000
"""Of a score of 1: scores that differ by less than a millionth are worth the same."""
SCORE_LIMIT: Final = 1e9
"""A score beyond it, up or down, is worth no more and no less."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Candidate:
    """One of an owner's versions of a program; one that is protected is never deleted."""

    id: UUID
    score: float | None
    saved_at: datetime
    is_protected: bool = False


def surplus(candidates: Sequence[Candidate], max_stored: int) -> list[Candidate]:
    """Return those to delete, the least valuable first, so that ``max_stored`` are left.

    Protected ones are kept first and count among them, however many they are; so is the best.
    """
    guarded = _with_best_protected(candidates)
    worths = worth(guarded)
    ranked = sorted(
        guarded,
        key=lambda one: (one.is_protected, worths[one.id], one.saved_at, one.id),
        reverse=True,
    )
    return [one for one in ranked[max_stored:] if not one.is_protected][::-1]


def worth(candidates: Sequence[Candidate]) -> dict[UUID, int]:
    """Return what each is worth: 0.7 x score + 0.3 x recency, times a common factor.

    Score and age are scaled so that the lowest of the candidates is 0 and the highest 1; where
    all are equal, each is 1. A version without a score counts as one of the lowest.
    """
    points = {one.id: _points(one.score) for one in candidates}
    scores, score_range = _scaled(points)
    recencies, recency_range = _scaled({one.id: _micros(one.saved_at) for one in candidates})
    return {
        one.id: SCORE_WEIGHT * scores[one.id] * recency_range
        + RECENCY_WEIGHT * recencies[one.id] * score_range
        for one in candidates
    }


def _scaled(values: dict[UUID, int | None]) -> tuple[dict[UUID, int], int]:
    """Return numerators from 0 up to the common denominator, and the denominator."""
    known = [value for value in values.values() if value is not None]
    if not known:
        return dict.fromkeys(values, 0), 1
    lowest, highest = min(known), max(known)
    if lowest == highest:
        return {key: int(value is not None) for key, value in values.items()}, 1
    shifted = {key: 0 if value is None else value - lowest for key, value in values.items()}
    return shifted, highest - lowest


def _with_best_protected(candidates: Sequence[Candidate]) -> list[Candidate]:
    scored = [(one.score, one.saved_at, one.id) for one in candidates if one.score is not None]
    best = max(scored)[2] if scored else None
    return [replace(one, is_protected=one.is_protected or one.id == best) for one in candidates]


def _points(score: float | None) -> int | None:
    if score is None:
        return None
    return math.floor(min(max(score, -SCORE_LIMIT), SCORE_LIMIT) * POINTS)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
