"""What a report asks the database. Each statement names the user where one is asked for.

Without a user, everything is counted in the database: what comes back is some hundred rows,
however many users there are.
"""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlmodel import col

from bespoke_workers.database.tables import (
    Activation,
    ActiveProgram,
    Learner,
    OptimizationJob,
    ProgramVersion,
)
from bespoke_workers.optimization.language_model.usage import FIGURES
from bespoke_workers.optimization.spending import SUMS, TIER

POINTS: Final = 500
"""Versions of one user that are plotted, the newest."""
LINES: Final = 50
"""Versions in the table, the newest."""
BINS: Final = 40
"""Times, and prices, into which those of many users are gathered."""
GAIN_STEP: Final = 0.02
SCORE_STEP: Final = 0.05
OPTIMIZERS: Final = 12
"""Optimizers that are told apart, those of the most versions; the name is whoever saves'."""
TIERS: Final = 20
"""Tiers in the table of what they took, those that took most; a table of tiers has no more."""

version, row, pointer = ProgramVersion, OptimizationJob, ActiveProgram
saved_at, score, optimizer = col(version.saved_at), col(version.score), col(version.optimizer)


def of_versions(program: str, user_id: str | None) -> ColumnElement[bool]:
    """Return the condition for the versions that a report is about; checkpoints are none."""
    whose = true() if user_id is None else col(version.user_id) == user_id
    return and_(col(version.program) == program, col(version.checkpoint).is_(None), whose)


def of_runs(program: str, user_id: str | None) -> ColumnElement[bool]:
    """Return the condition for the optimizations that a report is about."""
    whose = true() if user_id is None else col(row.user_id) == user_id
    return and_(col(row.program) == program, whose)


def version_totals(program: str, user_id: str | None) -> Executable:
    """Count versions and their users, and find when they were saved."""
    return select(
        func.count().label("versions"),
        func.count(func.distinct(col(version.user_id))).label("users"),
        func.min(saved_at).label("first_saved_at"),
        func.max(saved_at).label("last_saved_at"),
        func.max(score).label("best_score"),
    ).where(of_versions(program, user_id))


def run_totals(program: str, user_id: str | None) -> Executable:
    """Count optimizations by how they ended, and add up what they paid for."""
    state, promoted = col(row.state), col(row.result)["promoted"].as_boolean()
    ended = state.in_(("succeeded", "failed", "parked", "cancelled"))
    return select(
        func.count().filter(ended).label("runs"),
        func.count().filter(state == "succeeded", promoted).label("promoted"),
        func.count().filter(state == "succeeded", promoted.is_(False)).label("unchanged"),
        func.count().filter(state.in_(("failed", "parked"))).label("failed"),
        func.count().filter(state == "cancelled").label("cancelled"),
        *(
            func.coalesce(func.sum(getattr(row, name)), 0).label(name)
            for name in (*FIGURES, "seconds")
        ),
        func.coalesce(func.max(row.cost_usd), 0).label("dearest_usd"),
        func.coalesce(func.max(row.lm_calls), 0).label("most_lm_calls"),
    ).where(of_runs(program, user_id))


def spent_by_tier(program: str, user_id: str | None) -> Executable:
    """Add up what optimizations took that were begun, by the tier that they ran as."""
    return (
        select(TIER.label("tier"), *SUMS)
        .where(of_runs(program, user_id), col(row.started_at).is_not(None))
        .group_by(TIER)
        .order_by(func.sum(row.cost_usd).desc(), func.sum(row.lm_calls).desc())
        .limit(TIERS)
    )


def newest(program: str, user_id: str | None, limit: int) -> Executable:
    """List the newest versions without their states, and whether each is in use."""
    used = exists().where(col(pointer.version_id) == col(version.id))
    result = col(version.optimization_result)
    return (
        select(
            col(version.id).label("program_id"),
            col(version.user_id),
            saved_at,
            optimizer,
            score,
            result["score_before"].as_float().label("score_before"),
            result["examples"].as_float().label("examples"),
            result["lm_calls"].as_float().label("lm_calls"),
            result["cost_usd"].as_float().label("cost_usd"),
            col(version.size_bytes),
            col(version.description),
            used.label("in_use"),
        )
        .where(of_versions(program, user_id))
        .order_by(saved_at.desc(), col(version.id).desc())
        .limit(limit)
    )


def scores_over_time(program: str, width: timedelta, origin: Any) -> Executable:
    """Gather everybody's versions by when they were saved: median, quartiles and count."""
    at = func.date_bin(literal(width), saved_at, literal(origin)).label("at")
    return (
        select(
            at,
            _percentile(0.5).label("score"),
            _percentile(0.25).label("low"),
            _percentile(0.75).label("high"),
            func.count().label("versions"),
        )
        .where(of_versions(program, None), score.is_not(None))
        .group_by(literal_column("at"))
        .order_by(literal_column("at"))
    )


def scores_by_optimizer(program: str, user_id: str | None) -> Executable:
    """Tell the quartiles of each optimizer's scores; those of the most versions."""
    return (
        select(
            optimizer,
            func.count().label("versions"),
            func.min(score).label("lowest"),
            _percentile(0.25).label("lower"),
            _percentile(0.5).label("median"),
            _percentile(0.75).label("upper"),
            func.max(score).label("highest"),
        )
        .where(of_versions(program, user_id), score.is_not(None))
        .group_by(optimizer)
        .order_by(func.count().desc(), optimizer)
        .limit(OPTIMIZERS)
    )


def prices_and_gains(program: str, user_id: str | None, price: str, most: float) -> Executable:
    """Gather optimizations of about the same price and gain, the promoted ones apart."""
    paid = getattr(row, price)
    gain = _number("score_after") - _number("score_before")
    # A little more than the most, so that the dearest falls into the last bin.
    step = (most or 1.0) * 1.000001 / BINS
    return (
        select(
            func.avg(paid).label("price"),
            func.avg(gain).label("gain"),
            func.count().label("runs"),
            col(row.result)["promoted"].as_boolean().label("promoted"),
        )
        .where(of_runs(program, user_id), col(row.state) == "succeeded", gain.is_not(None))
        .group_by(
            func.floor(paid / literal(step, Float)),
            func.round(gain / literal(GAIN_STEP, Float)),
            literal_column("promoted"),
        )
        .order_by(literal_column("price"), literal_column("gain"))
    )


def stints(program: str, user_id: str) -> Executable:
    """List the newest moves of one user's pointer, newest first."""
    move = Activation
    return (
        select(
            col(move.version_id).label("program_id"),
            col(move.moved_at).label("since"),
            col(move.undone_at),
            col(move.reason),
            optimizer,
            score,
        )
        .join(pointer, col(pointer.id) == col(move.pointer_id))
        .join(version, col(version.id) == col(move.version_id))
        .where(col(pointer.user_id) == user_id, col(pointer.program) == program)
        .order_by(col(move.generation).desc())
        .limit(LINES)
    )


def shares(program: str) -> Executable:
    """Count the users whose version in use scores about the same, by optimizer."""
    low = func.least(func.floor(score / SCORE_STEP) * SCORE_STEP, 1 - SCORE_STEP).label("low")
    return (
        select(low, optimizer, func.count().label("users"))
        .join(pointer, col(pointer.version_id) == col(version.id))
        .where(
            col(pointer.program) == program,
            col(pointer.user_id).is_not(None),
            score.is_not(None),
        )
        .group_by(literal_column("low"), optimizer)
        .order_by(literal_column("low"), optimizer)
    )


def users_served(program: str) -> Executable:
    """Count the users with a version of their own in use, and those who teach without one."""
    own = select(func.count()).where(
        col(pointer.program) == program,
        col(pointer.user_id).is_not(None),
        col(pointer.version_id).is_not(None),
    )
    has_own = exists().where(
        col(pointer.user_id) == col(Learner.user_id),
        col(pointer.program) == program,
        col(pointer.version_id).is_not(None),
    )
    base = select(func.count()).where(col(Learner.program) == program, ~has_own)
    return select(
        own.scalar_subquery().label("users_with_own"),
        base.scalar_subquery().label("users_on_base"),
    )


def _number(name: str) -> ColumnElement[float]:
    """Return a number of an optimization's result."""
    value = col(row.result)[name]
    return case((func.jsonb_typeof(value) == "number", cast(value.as_string(), Float)))


def _percentile(fraction: float) -> ColumnElement[float]:
    return func.percentile_cont(fraction).within_group(score)
