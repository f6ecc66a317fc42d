"""Counts how often a job came back because whoever had it died, and parks it in the end."""

from uuid import UUID

from sqlalchemy import case, exists, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.database import once, records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Delivery, Job
from bespoke_workers.errors import Parked
from bespoke_workers.settings import Settings


async def count(database: Database, settings: Settings, task_id: str, task: str) -> None:
    """Count a redelivery; raises Parked once there were more than ``max_deliveries``.

    A first delivery costs nothing: only messages marked as redelivered are counted. Pages that
    a job has done since the last one begin the count anew: it does get somewhere.
    """
    job_id = UUID(task_id)
    got_on = (
        exists()
        .where(
            col(Job.id) == job_id,
            col(Job.state) == records.ACCEPTED,
            col(Job.finished_at) > col(Delivery.last_at),
        )
        .correlate(Delivery)
    )
    statement = (
        insert(Delivery)
        .values(job_id=job_id, task=task, redeliveries=1)
        .on_conflict_do_update(
            index_elements=["job_id"],
            set_={
                "redeliveries": case((got_on, 1), else_=col(Delivery.redeliveries) + 1),
                "last_at": func.now(),
            },
        )
        .returning(col(Delivery.redeliveries))
    )
    async with database.autocommit() as connection:
        redeliveries = (await connection.execute(statement)).scalar_one()
    if redeliveries < settings.max_deliveries:
        return
    parked = Parked.after(redeliveries)  # each of them tells of one death
    async with database.transaction() as session:
        first = await _park(session, job_id, task, str(parked))
    # Raised after the commit, which an exception would undo. If the job had ended before,
    # it took effect and its worker died then: the job itself answers.
    if first:
        raise parked


async def _park(session: AsyncSession, job_id: UUID, task: str, reason: str) -> bool:
    """Record that a job is parked; False if it ended before, or others go on with it."""
    if await once.end(session, job_id, task, "parked", reason):
        return True
    parked = await session.exec(
        update(Job)
        .where(
            col(Job.id) == job_id,
            col(Job.state) == records.ACCEPTED,
            col(Job.task).in_(records.PAGED),
        )
        .values(state="parked", reason=reason, finished_at=func.now())
    )
    return parked.rowcount == 1
