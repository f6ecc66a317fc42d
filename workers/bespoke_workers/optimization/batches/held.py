"""Runs that are not to begin, because their batch is paused or has spent its budget."""

from functools import cache

from sqlalchemy import ColumnElement, case, exists, func, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.database.tables import Batch, OptimizationJob
from bespoke_workers.optimization.batches.batch_budget import BatchBudget
from bespoke_workers.optimization.batches.batch_statements import under_way
from bespoke_workers.optimization.stopping import OutOfBudget

_run = OptimizationJob
_state = col(OptimizationJob.state)


@cache
def is_held() -> ColumnElement[bool]:
    """Whether a run is one of a batch that begins nothing."""
    held = or_(col(Batch.paused), col(Batch.over_budget).is_not(None))
    return exists().where(col(Batch.id) == col(_run.batch_id), held)


async def take_back(session: AsyncSession, batch: Batch) -> None:
    """Let no run of a batch be queued; a message on its way finds nothing to run."""
    queued = (col(_run.batch_id) == batch.id, _state == "queued")
    await session.exec(update(_run).where(*queued).values(state="planned"))


async def judge(session: AsyncSession, batch: Batch) -> None:
    """Hold a batch for good if its budget is spent; its row is locked by the caller.

    Runs that were not begun are skipped. One whose worker died is not taken up again.
    """
    budget = BatchBudget(batch.max_lm_calls, batch.max_usd, batch.max_seconds)
    seconds = 0.0 if budget.seconds is None else await _seconds(session, batch)
    if budget == BatchBudget(None, None, None) and batch.over_budget is None:
        return
    lm_calls, usd = await under_way(session, batch.id)
    reason = batch.over_budget or budget.spent(
        batch.lm_calls + lm_calls, batch.cost_usd + usd, seconds
    )
    if reason is None:
        return
    batch.over_budget, batch.state = reason, "running"  # nobody is planned any more
    session.add(batch)
    begun = col(_run.started_at).is_not(None)
    lost = (_state == "running") & (col(_run.lease_until) < func.now())
    await session.exec(
        update(_run)
        .where(col(_run.batch_id) == batch.id, or_(_state.in_(("planned", "queued")), lost))
        .values(
            state=case((begun, "cancelled"), else_="skipped"),
            error=f"not run to its end: the batch's budget is spent: {reason}",
            error_type=OutOfBudget.__name__,
            lease_owner=None,
            lease_until=None,
            finished_at=func.now(),
            answered=True,
        )
    )


async def _seconds(session: AsyncSession, batch: Batch) -> float:
    took = func.extract("epoch", func.now() - col(Batch.created_at))
    return float((await session.exec(select(took).where(Batch.id == batch.id))).one())
