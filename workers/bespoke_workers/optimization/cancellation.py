"""How jobs are stopped: before they begin, or while they run."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Update, case, func, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.jobs import Cancel, Cancelled
from bespoke_schemas.optimization import OptimizeTier, OptimizeUser
from bespoke_workers import errors
from bespoke_workers.database import once, records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Batch, Job, OptimizationJob
from bespoke_workers.optimization.batches.batch_statements import OPEN_RUNS
from bespoke_workers.optimization.leases import WHILE_IT_RAN
from bespoke_workers.outbox import Outbox

BEFORE = "cancelled before it began"
NOT_BEGUN = "it had not begun, and will not"
STOPPED = "it ran, and its process was stopped"
UNKNOWN_TASK = ""
"""Whoever cancels a job knows its id alone; the job's own message brings the rest."""

Ended = dict[UUID, str]
"""Jobs that a cancellation ended, and the reason that whoever waits for them is told."""

_log = structlog.get_logger("bespoke.jobs")


class Cancellation:
    """Cancels jobs of every kind by their ids."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    async def cancel(self, payload: Cancel) -> Cancelled:
        """Stop a job: one that waits never begins, one that runs for long is stopped.

        A batch is stopped with all of its users. ``cancelled`` is False where the job has
        ended already, and ``reason`` says how.
        """
        ended: Ended = {}

        async def effect(session: AsyncSession) -> Cancelled:
            ended.clear()
            return await _cancel(session, payload.job_id, ended)

        result = await once.once(self._database, payload, effect)
        self._tell(ended)
        return result

    async def revoked(self, job_id: UUID, process: str | None = None) -> None:
        """Stop a job that was revoked by Celery's remote control; again does no harm.

        ``process`` is the one that was killed with it, as leases name it: a run that it held
        has ended.
        """
        ended: Ended = {}
        async with self._database.transaction() as session:
            await _cancel(session, job_id, ended, process)
        self._tell(ended)

    def _tell(self, ended: Ended) -> None:
        for job_id, reason in ended.items():
            try:
                self._outbox.fail(job_id, errors.Cancelled(reason))
            except Exception as error:  # noqa: BLE001  # the reaper or the job itself tells it
                _log.warning("cancellation not told", error=type(error).__name__)


async def _cancel(
    session: AsyncSession, job_id: UUID, ended: Ended, process: str | None = None
) -> Cancelled:
    known = await _cancel_known(session, job_id, ended, process)
    if known is not None:
        return known
    if await once.end(session, job_id, UNKNOWN_TASK, "cancelled", BEFORE):
        ended[job_id] = BEFORE
        return Cancelled(cancelled=True, reason=NOT_BEGUN)
    # Whoever has accepted the job since has written its run or its batch in the same transaction.
    known = await _cancel_known(session, job_id, ended, process)
    if known is not None:
        return known
    job = await session.get_one(Job, job_id, with_for_update=True)
    if job.state == records.ACCEPTED and job.task in records.PAGED:  # between two of its pages
        job.state, job.reason = "cancelled", WHILE_IT_RAN
        session.add(job)
        return Cancelled(cancelled=True, reason="it runs, and stops after the page that it is at")
    if job.state == records.ACCEPTED:
        return Cancelled(cancelled=False, reason="it has begun, and ends as it would have")
    return Cancelled(cancelled=False, reason=f"it has ended: {job.state}")


async def _cancel_known(
    session: AsyncSession, job_id: UUID, ended: Ended, process: str | None
) -> Cancelled | None:
    """Cancel an optimization or a batch; None if there is none of this id."""
    statement = select(OptimizationJob).where(OptimizationJob.id == job_id).with_for_update()
    row = (await session.exec(statement)).one_or_none()
    if row is not None:
        return await _cancel_optimization(session, row, ended, process)
    batch = (
        await session.exec(select(Batch).where(Batch.id == job_id).with_for_update())
    ).one_or_none()
    return None if batch is None else await _cancel_batch(session, batch, ended)


async def _cancel_optimization(
    session: AsyncSession, row: OptimizationJob, ended: Ended, process: str | None
) -> Cancelled:
    if row.state == "running" and not _died_with(row, process):
        row.cancel_requested = True
        session.add(row)
        return Cancelled(cancelled=True, reason="it runs, and stops within seconds")
    if row.state not in {"planned", "queued", "running"}:
        return Cancelled(cancelled=False, reason=f"it has ended: {row.state}")
    reason = BEFORE if row.started_at is None else WHILE_IT_RAN
    row.state, row.error, row.finished_at = "cancelled", reason, await _now(session)
    row.error_type, row.lease_owner, row.lease_until = errors.Cancelled.__name__, None, None
    session.add(row)
    await records.complete(
        session, row.id, OptimizeUser.task, "cancelled", user_id=row.user_id, reason=reason
    )
    ended[row.id] = reason
    return Cancelled(cancelled=True, reason=NOT_BEGUN if reason == BEFORE else STOPPED)


def _died_with(row: OptimizationJob, process: str | None) -> bool:
    """Return whether the process that was killed is the one that holds the row."""
    return process is not None and (row.lease_owner or "").startswith(f"{process}:")


async def _cancel_batch(session: AsyncSession, batch: Batch, ended: Ended) -> Cancelled:
    if batch.state not in {"planning", "running"}:
        return Cancelled(cancelled=False, reason=f"it has ended: {batch.state}")
    await session.exec(_ending_runs(batch))
    batch.state, batch.finished_at = "cancelled", await _now(session)
    session.add(batch)
    await records.complete(session, batch.id, OptimizeTier.task, "cancelled", reason="cancelled")
    ended[batch.id] = BEFORE
    return Cancelled(cancelled=True, reason="no further user is begun; those that run stop")


def _ending_runs(batch: Batch) -> Update:
    """Cancel what waits and ask what runs to stop, in one statement.

    Between two, a run that waits could begin, and one that runs be let go, and neither be met.
    """
    row = OptimizationJob
    runs = col(row.state) == "running"
    began = col(row.started_at).is_not(None)
    return (
        update(row)
        .where(col(row.batch_id) == batch.id, col(row.state).in_(OPEN_RUNS))
        .values(
            state=case((runs, "running"), else_="cancelled"),
            cancel_requested=or_(runs, col(row.cancel_requested)),
            error=case((runs, col(row.error)), (began, WHILE_IT_RAN), else_=BEFORE),
            finished_at=case((~runs, func.now())),
            answered=or_(~runs, col(row.answered)),
        )
    )


async def _now(session: AsyncSession) -> datetime:
    return (await session.exec(select(func.now()))).one()
