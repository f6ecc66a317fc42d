"""The answers of optimizations and batches, given until the result backend has them.

A worker may die between the commit of an end and its telling; the reaper then tells it.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import func, update
from sqlmodel import col, select

from bespoke_schemas.optimization import BatchSummary, Optimized, OptimizeTier, OptimizeUser
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Batch, Job, OptimizationJob
from bespoke_workers.errors import Cancelled, Parked, Refused
from bespoke_workers.outbox import Outbox

GRACE: Final = timedelta(seconds=5)
"""Whoever ended a job answers it within this time, or has died."""
PAGE: Final = 200
ENDED: Final = ("succeeded", "failed", "parked", "cancelled", "skipped")

_log = structlog.get_logger("bespoke.optimization")


class Answers:
    """Tells the result backend how optimizations and batches ended."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    async def recorded(self, job_id: UUID) -> Optimized | None:
        """Return the result of an optimization that ended; None if it is open or unknown.

        Raises the error that it ended with.
        """
        async with self._database.transaction() as session:
            row = await session.get(OptimizationJob, job_id)
        if row is None or row.state not in ENDED:
            return None
        if row.state != "succeeded":
            raise records.failure(row.state, row.error)
        return Optimized.model_validate(row.result)

    async def give(self, job_id: UUID) -> None:
        """Answer an optimization that ended."""
        try:
            optimized = await self.recorded(job_id)
        except (Cancelled, Parked, Refused) as error:
            self._outbox.fail(job_id, error)
        else:
            if optimized is None:
                return
            self._outbox.succeed(job_id, OptimizeUser.task, optimized)
        await self._mark(OptimizationJob, job_id)

    async def give_batch(self, batch_id: UUID) -> None:
        """Answer a batch that ended."""
        async with self._database.transaction() as session:
            job = await session.get(Job, batch_id)
        if job is None or job.state == records.ACCEPTED:
            return
        if job.state == "done":
            summary = BatchSummary.model_validate(job.result)
            self._outbox.succeed(batch_id, OptimizeTier.task, summary)
        else:
            self._outbox.fail(batch_id, records.failure(job.state, job.reason))
        await self._mark(Batch, batch_id)

    async def repeat(self) -> None:
        """Answer what ended and was not answered, because its worker died in between."""
        await self._repeat(OptimizationJob, self.give)
        await self._repeat(Batch, self.give_batch)

    async def quietly(self, give: Callable[[UUID], Awaitable[None]], job_id: UUID) -> None:
        """Answer, or leave it to the reaper where the result backend is away."""
        try:
            await give(job_id)
        except Exception as error:  # noqa: BLE001  # whichever way the backend fails
            _log.warning("answer left to the reaper", about=str(job_id), error=type(error).__name__)

    async def _repeat(
        self,
        table: type[OptimizationJob] | type[Batch],
        give: Callable[[UUID], Awaitable[None]],
    ) -> None:
        statement = (
            select(table.id)
            .where(
                col(table.finished_at) < func.now() - GRACE,
                col(table.answered).is_(False),
            )
            .order_by(col(table.finished_at))
            .limit(PAGE)
        )
        async with self._database.transaction() as session:
            waiting = (await session.exec(statement)).all()
        for job_id in waiting:
            await self.quietly(give, job_id)

    async def _mark(self, table: type[OptimizationJob] | type[Batch], job_id: UUID) -> None:
        async with self._database.autocommit() as connection:
            await connection.execute(
                update(table).where(col(table.id) == job_id).values(answered=True)
            )
