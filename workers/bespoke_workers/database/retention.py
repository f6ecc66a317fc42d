"""How long the records of jobs, runs and batches are kept."""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists
from sqlmodel import SQLModel, col, select

from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Batch, Delivery, Erasure, Job, OptimizationJob
from bespoke_workers.settings import Settings

PAGE: Final = 5000
"""Rows that one statement deletes: it locks as many and takes a fraction of a second."""


class Retention:
    """Deletes records of jobs so old that no delivery of them can still be on its way.

    Runs and batches that ended are kept longer: reports are made of them.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._keep = timedelta(days=settings.job_retention_days)
        self._keep_runs = timedelta(days=settings.run_retention_days)

    async def prune(self, seconds: float) -> bool:
        """Delete what is older than ``job_retention_days``, runs than ``run_retention_days``.

        Returns whether that was all; False where ``seconds`` were too few, and some are left.
        """
        now, until = datetime.now(UTC), monotonic() + seconds
        before, runs_before = now - self._keep, now - self._keep_runs
        runs = col(OptimizationJob.finished_at) < runs_before
        left = exists().where(col(OptimizationJob.batch_id) == col(Batch.id))
        done = [
            await self._prune(until, table, key, *due)
            for table, key, *due in (
                (Job, col(Job.id), col(Job.finished_at) < before),
                (Delivery, col(Delivery.job_id), col(Delivery.last_at) < before),
                (Erasure, col(Erasure.subject), col(Erasure.ended_at) < before),
                (OptimizationJob, col(OptimizationJob.id), runs),
                (Batch, col(Batch.id), col(Batch.finished_at) < runs_before, ~left),
            )
        ]
        return all(done)

    async def _prune(
        self, until: float, table: type[SQLModel], key: Any, *due: ColumnElement[bool]
    ) -> bool:
        """Delete what the conditions say, a page in each transaction; at least one."""
        page = select(key).where(*due).limit(PAGE)
        # Said twice: a row that is due no more, such as of an erasure begun anew, stays.
        deleting = delete(table).where(key.in_(page), *due)
        while True:
            async with self._database.transaction() as session:
                deleted = await session.exec(deleting)
            if deleted.rowcount < PAGE:
                return True
            if monotonic() > until:
                return False
