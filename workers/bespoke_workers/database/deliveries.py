"""Counts how often a job came back because whoever had it died, and parks it in the end."""

from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from bespoke_workers.database import once
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Delivery
from bespoke_workers.errors import Parked
from bespoke_workers.settings import Settings


async def count(database: Database, settings: Settings, task_id: str, task: str) -> None:
    """Count a redelivery; raises Parked once there were more than ``max_deliveries``.

    A first delivery costs nothing: only messages marked as redelivered are counted.
    """
    job_id = UUID(task_id)
    statement = (
        insert(Delivery)
        .values(job_id=job_id, task=task, redeliveries=1)
        .on_conflict_do_update(
            index_elements=["job_id"],
            set_={"redeliveries": col(Delivery.redeliveries) + 1, "last_at": func.now()},
        )
        .returning(col(Delivery.redeliveries))
    )
    async with database.autocommit() as connection:
        redeliveries = (await connection.execute(statement)).scalar_one()
    if redeliveries < settings.max_deliveries:
        return
    parked = Parked.after(redeliveries)  # each of them tells of one death
    async with database.transaction() as session:
        first = await once.end(session, job_id, task, "parked", str(parked))
    # Raised after the commit, which an exception would undo. If the job had ended before,
    # it took effect and its worker died then: the job itself answers.
    if first:
        raise parked
