"""How long the records of jobs, runs and batches are kept."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, exists
from sqlmodel import col, select

from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Batch, Delivery, Erasure, Job, OptimizationJob
from bespoke_workers.settings import Settings

PAGE: Final = 5000
"""Runs or batches that one statement deletes: it locks as many and takes a fraction of a second."""


class Retention:
    """Deletes records of jobs so old that no delivery of them can still be on its way.

    Runs and batches that ended are kept longer: reports are made of them.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._keep = timedelta(days=settings.job_retention_days)
        self._keep_runs = timedelta(days=settings.run_retention_days)

    async def prune(self) -> None:
        """Delete what is older than ``job_retention_days``, runs than ``run_retention_days``."""
        before = datetime.now(UTC) - self._keep
        async with self._database.transaction() as session:
            await session.exec(delete(Job).where(col(Job.finished_at) < before))
            await session.exec(delete(Delivery).where(col(Delivery.last_at) < before))
            await session.exec(delete(Erasure).where(col(Erasure.ended_at) < before))
        runs_before = datetime.now(UTC) - self._keep_runs
        await self._prune(OptimizationJob, col(OptimizationJob.finished_at) < runs_before)
        left = exists().where(col(OptimizationJob.batch_id) == col(Batch.id))
        await self._prune(Batch, col(Batch.finished_at) < runs_before, ~left)

    async def _prune(
        self, table: type[OptimizationJob] | type[Batch], *conditions: ColumnElement[bool]
    ) -> None:
        """Delete what the conditions say, a page in each transaction."""
        page = select(table.id).where(*conditions).limit(PAGE)
        while True:
            async with self._database.transaction() as session:
                deleted = await session.exec(delete(table).where(col(table.id).in_(page)))
            if deleted.rowcount < PAGE:
                return
