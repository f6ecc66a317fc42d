"""The figures of a report: counts, scores and moments, and users as the hashes of log lines."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Figure(BaseModel):
    """Something that a report tells."""

    model_config = ConfigDict(frozen=True)


class Totals(Figure):
    """All versions without checkpoints, and all optimizations and what they paid for."""

    versions: int
    users: int
    first_saved_at: datetime | None
    last_saved_at: datetime | None
    best_score: float | None
    runs: int
    promoted: int
    unchanged: int
    failed: int
    cancelled: int
    lm_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unpriced_calls: int
    seconds: float
    dearest_usd: float
    most_lm_calls: int


class VersionLine(Figure):
    """One version in the table. ``description`` is None unless the report is of one user."""

    program_id: UUID
    user: str | None
    saved_at: datetime
    optimizer: str | None
    score: float | None
    score_before: float | None
    in_use: bool
    examples: int | None
    lm_calls: int | None
    cost_usd: float | None
    size_bytes: int
    description: str | None


class ScorePoint(Figure):
    """The scores of the versions saved from ``at`` on, up to the next point.

    In a report of one user each version is a point.
    """

    at: datetime
    score: float
    low: float
    high: float
    versions: int
    optimizer: str | None


class OptimizerScores(Figure):
    """How the versions of one optimizer score: quartiles, lowest and highest."""

    optimizer: str | None
    versions: int
    lowest: float
    lower: float
    median: float
    upper: float
    highest: float


class RunPoint(Figure):
    """Optimizations of about the same price and gain; both are means over them."""

    price: float
    gain: float
    runs: int
    promoted: bool


class Stint(Figure):
    """A time for which one user had a version in use; ``until`` is None while it is."""

    program_id: UUID
    since: datetime
    until: datetime | None
    reason: str
    optimizer: str | None
    score: float | None


class Share(Figure):
    """How many users have a version in use whose score is ``score`` or up to a step above."""

    score: float
    optimizer: str | None
    users: int


class InUse(Figure):
    """Versions in use: of one user one after another, or of all users now, by score."""

    stints: list[Stint] = []
    shares: list[Share] = []
    users_with_own: int = 0
    users_on_base: int = 0


class TierSpending(Figure):
    """What the optimizations of a tier took, however they ended."""

    tier: str
    runs: int
    failed: int
    lm_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unpriced_calls: int
    seconds: float


class Figures(Figure):
    """All that a report says. ``shown`` versions are in the table and ``of`` in all."""

    program: str
    user: str | None
    made_at: datetime
    totals: Totals
    price: Literal["USD", "LM calls"]
    scores: list[ScorePoint]
    scores_are_of: Literal["versions", "times"]
    optimizers: list[OptimizerScores]
    runs: list[RunPoint]
    in_use: InUse
    tiers: list[TierSpending]
    versions: list[VersionLine]
