"""The Celery application that a store is compared with, as Celery comes: its own transport, an ORM.

Like a job it is acknowledged late, and a loop is kept for asyncpg. Its queue is one, since nothing
divides the users among its workers.
"""

import asyncio
import os
from datetime import UTC, datetime
from uuid import UUID

from celery import Celery
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.database.tables import Delivery

QUEUE = "stock"
INSERT = "stock.insert"

app = Celery("stock", broker=os.environ.get("BESPOKE_BROKER_URL"))
app.conf.update(task_acks_late=True, task_ignore_result=True)

_engine = create_async_engine(os.environ.get("BESPOKE_DATABASE_URL", "postgresql+asyncpg://"))
_runner = asyncio.Runner()


@app.task(name=INSERT)
def insert(job_id: str) -> None:
    """Insert one small row through the ORM and commit."""
    _runner.run(_insert(job_id))


async def _insert(job_id: str) -> None:
    async with AsyncSession(_engine, expire_on_commit=False) as session, session.begin():
        now = datetime.now(UTC)
        session.add(Delivery(job_id=UUID(job_id), task=INSERT, redeliveries=0, last_at=now))
