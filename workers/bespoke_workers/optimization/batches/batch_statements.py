"""The SQL that looks at batches: one statement for each question, each along an index."""

from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Double,
    Select,
    Subquery,
    and_,
    bindparam,
    case,
    cast,
    func,
    lateral,
    literal,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.sql.dml import ReturningUpdate
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.jobs import Cursor
from bespoke_schemas.optimization import ListBatches
from bespoke_workers.database.tables import Batch, OptimizationJob
from bespoke_workers.optimization.language_model.usage import FIGURES as FIGURES_OF_CALLS

OPEN_RUNS: Final = ("planned", "queued", "running")
IN_VAIN: Final = ("failed", "parked", "cancelled")

_run = OptimizationJob
_result = col(OptimizationJob.result)
_state = col(OptimizationJob.state)


def _sum(figure: str) -> Any:
    return func.coalesce(func.sum(getattr(_run, figure)), 0).label(figure)


def _mean(field: str) -> Any:
    before, after = _result["score_before"].astext, _result["score_after"].astext
    both = and_(before.is_not(None), after.is_not(None))
    return func.avg(cast(_result[field].astext, Double)).filter(both).label(field)


FIGURES: Final[tuple[Any, ...]] = (
    _state.label("run_state"),
    func.count().label("users"),
    func.count().filter(cast(_result["promoted"].astext, Boolean)).label("promoted"),
    _mean("score_before"),
    _mean("score_after"),
    *(_sum(figure) for figure in (*FIGURES_OF_CALLS, "seconds")),
)
"""What is told of a batch's runs, for each state of theirs by itself."""


def _told_state() -> Any:
    return case((col(Batch.paused), "paused"), else_=col(Batch.state)).label("state")


_KNOWN: Final[tuple[Any, ...]] = (
    col(Batch.id), col(Batch.program), col(Batch.tier), _told_state(),
    col(Batch.max_concurrent), col(Batch.lm_calls), col(Batch.cost_usd),
    col(Batch.created_at), col(Batch.finished_at), col(Batch.over_budget),
)  # fmt: skip


def figures(batch_id: UUID) -> Select[Any]:
    """Ask for the figures of a batch's runs."""
    return select(*FIGURES).where(col(_run.batch_id) == batch_id).group_by(_state)


def one(batch_id: UUID) -> Select[Any]:
    """Ask for a batch and its figures: a row for each state of runs, one if it has none."""
    runs = lateral(select(*FIGURES).where(col(_run.batch_id) == col(Batch.id)).group_by(_state))
    known = [column.label(f"batch_{column.key}") for column in _KNOWN]
    joined = select(*known, runs).select_from(Batch).join(runs, true(), isouter=True)
    return joined.where(col(Batch.id) == batch_id)


def page(payload: ListBatches) -> Select[Any]:
    """Ask for a page of batches, and one more if there is more, newest first."""
    newest = select(*_KNOWN)
    if payload.program is not None:
        newest = newest.where(col(Batch.program) == payload.program)
    if payload.state is not None:
        newest = newest.where(_told_state() == payload.state)
    if payload.after is not None:
        newest = newest.where(tuple_(col(Batch.created_at), col(Batch.id)) < _cursor(payload.after))
    found = newest.order_by(col(Batch.created_at).desc(), col(Batch.id).desc())
    batches = found.limit(payload.limit + 1).subquery()
    counted = _counted(batches)
    joined = select(*batches.c, *counted.c).select_from(batches).join(counted, true())
    return joined.order_by(batches.c.created_at.desc(), batches.c.id.desc())


def errors(batch_id: UUID, after: UUID | None, limit: int) -> Select[Any]:
    """Ask for the errors of a batch's users, and one more if there is more."""
    told: tuple[Any, ...] = (col(_run.id), col(_run.user_id), _state, col(_run.error))
    asked = select(*told).where(col(_run.batch_id) == batch_id, _state.in_(IN_VAIN))
    if after is not None:
        asked = asked.where(col(_run.id) > after)
    return asked.order_by(col(_run.id)).limit(limit + 1)


async def count_spent(session: AsyncSession, batch: Batch) -> None:
    """Add to the batch what the runs that ended since the last time have spent.

    The batch's row is locked by the caller. Each run is added once, so that a batch of many
    need not be summed up again whenever one of them ends.
    """
    connection = await session.connection()
    spent = await connection.execute(_counting(), {"of_batch": batch.id})
    lm_calls, cost_usd = spent.one()
    if lm_calls or cost_usd:
        batch.lm_calls += int(lm_calls)
        batch.cost_usd += float(cost_usd)
        session.add(batch)


@cache
def _counting() -> Select[Any]:
    """Mark as counted the runs that have ended, and sum up what they spent."""
    ended = (
        update(_run)
        .where(
            col(_run.batch_id) == bindparam("of_batch"),
            col(_run.finished_at).is_not(None),
            col(_run.counted).is_(False),
        )
        .values(counted=True)
        .returning(col(_run.lm_calls), col(_run.cost_usd))
        .cte("ended")
    )
    return select(
        func.coalesce(func.sum(ended.c.lm_calls), 0), func.coalesce(func.sum(ended.c.cost_usd), 0)
    )


@cache
def flying() -> Select[Any]:
    """Ask how many runs of a batch are in flight."""
    begun = (col(_run.batch_id) == bindparam("of_batch"), _state.in_(("queued", "running")))
    return select(func.count()).where(*begun)


@cache
def queueing() -> ReturningUpdate[Any]:
    """Queue as many runs of a batch as there is ``room`` for; return what messages they need."""
    planned = (
        select(col(_run.id))
        .where(col(_run.batch_id) == bindparam("of_batch"), _state == "planned")
        .order_by(col(_run.id))
        .limit(bindparam("room"))
    )
    queued = update(_run).where(col(_run.id).in_(planned))
    returned: tuple[Any, ...] = (col(_run.id), col(_run.finetuning))
    return queued.values(state="queued", sent_at=func.now()).returning(*returned)


@cache
def unfinished() -> Select[Any]:
    """Ask for a run of a batch that has not ended."""
    open_runs = (col(_run.batch_id) == bindparam("of_batch"), _state.in_(OPEN_RUNS))
    return select(col(_run.id)).where(*open_runs).limit(1)


async def under_way(session: AsyncSession, batch_id: UUID) -> tuple[int, float]:
    """Return the LM calls and US dollars that runs have taken that have not ended, as of late."""
    begun = (col(_run.batch_id) == batch_id, _state.in_(("queued", "running")))
    statement = select(_sum("lm_calls"), _sum("cost_usd")).where(*begun)
    connection = await session.connection()
    lm_calls, cost_usd = (await connection.execute(statement)).one()
    return int(lm_calls), float(cost_usd)


def _counted(batches: Subquery) -> Any:
    total = func.count()
    return lateral(
        select(
            total.label("users"),
            total.filter(_state.not_in(OPEN_RUNS)).label("ended"),
            total.filter(_state.in_(IN_VAIN)).label("failed"),
        ).where(col(_run.batch_id) == batches.c.id)
    )


def _cursor(after: Cursor) -> Any:
    return tuple_(literal(after.at, TIMESTAMP(timezone=True)), literal(after.job_id))
