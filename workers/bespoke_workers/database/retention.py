"""How long the records of jobs are kept."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete
from sqlmodel import col

from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Delivery, Erasure, Job
from bespoke_workers.settings import Settings


class Retention:
    """Deletes records of jobs so old that no delivery of them can still be on its way."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._keep = timedelta(days=settings.job_retention_days)

    async def prune(self) -> None:
        """Delete what is older than ``job_retention_days``."""
        before = datetime.now(UTC) - self._keep
        async with self._database.transaction() as session:
            await session.exec(delete(Job).where(col(Job.finished_at) < before))
            await session.exec(delete(Delivery).where(col(Delivery.last_at) < before))
            await session.exec(delete(Erasure).where(col(Erasure.ended_at) < before))
