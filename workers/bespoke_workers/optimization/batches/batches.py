"""The optimization of whole tiers, a bounded number of users at a time.

A batch is a row, and each of its users a row of ``optimization_job``. The planner writes the
users' rows page by page; ``top_up`` queues as many as may be in flight and is called whenever
one ends, and by the reaper. Whoever finds nothing left ends the batch. No message ever
stands for more than one user, and nothing is kept in a worker's memory.
"""

import time
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.jobs import Progress
from bespoke_schemas.optimization import BatchSummary, OptimizeTier
from bespoke_workers import modules
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Batch, Job
from bespoke_workers.errors import Transient
from bespoke_workers.observe import events
from bespoke_workers.optimization.answers import Answers
from bespoke_workers.optimization.batches import batch_statements, held, planning
from bespoke_workers.optimization.batches.summary import figures, summarize
from bespoke_workers.optimization.choosing.tiers import Table
from bespoke_workers.optimization.dispatch import Dispatch, Waiting
from bespoke_workers.optimization.language_model.prices import Prices
from bespoke_workers.outbox import Outbox
from bespoke_workers.programs import registry
from bespoke_workers.settings import Settings

OPEN: Final = ("planning", "running")
TELL_SECONDS: Final = 1.0
TELL_SHARE: Final = 0.02
"""Of a process's time, at most, goes into counting the rows of batches to tell how far they are."""
PLAN_SECONDS: Final = 60.0
"""For so long a planner plans by itself: its job is a short one, and stopped after two minutes."""
REAP_PLAN_SECONDS: Final = 5.0
"""For so long the reaper goes on with each batch that is not planned to its end."""

_log = structlog.get_logger("bespoke.optimization")


class Batches:
    """Plans batches, keeps them going, and ends them."""

    def __init__(self, database: Database, settings: Settings, outbox: Outbox) -> None:
        self._database = database
        self._settings = settings
        self._outbox = outbox
        self._dispatch = Dispatch(database, outbox, max_attempts=settings.max_deliveries)
        self._answers = Answers(database, outbox)
        self._table = Table.from_settings(settings)
        self._tell_next: dict[UUID, float] = {}

    async def plan(self, payload: OptimizeTier) -> BatchSummary | None:
        """Plan a batch; None, since the answer comes when it ends; at once if it has no user.

        A second batch for the same program, tier and night is none: it answers at once with
        how far the first one is. A redelivery goes on where a dead planner stopped.
        """
        async with self._database.transaction() as session:
            other = await self._begin(session, payload)
        if other is not None:
            return other
        await self._plan(payload.id, PLAN_SECONDS)
        return await self._ended(payload)

    async def top_up_open(self) -> None:
        """Top up every batch that has not ended; plan those whose planner did not end it."""
        async with self._database.transaction() as session:
            statement = select(Batch.id).where(col(Batch.state).in_(OPEN))
            batches = (await session.exec(statement)).all()
        for batch_id in batches:
            await self._plan(batch_id, REAP_PLAN_SECONDS)

    async def _plan(self, batch_id: UUID, seconds: float) -> None:
        """Plan for so long, topping up after each page; what is left is for the reaper."""
        until = time.monotonic() + seconds
        while await self._plan_page(batch_id):
            await self.top_up(batch_id)
            if time.monotonic() > until:
                return
        await self.top_up(batch_id)

    async def top_up(self, batch_id: UUID) -> None:
        """Queue as many of a batch's users as may be in flight; end it if none is left."""
        async with self._database.transaction() as session:
            batch = await locked(session, batch_id)
            if batch is None or batch.state not in OPEN:
                return
            await batch_statements.count_spent(session, batch)
            await held.judge(session, batch)
            queued = await _queue(session, batch)
            over = batch.state == "running" and not queued
            ended = over and not await _unfinished(session, batch_id)
            summary = await self._end(session, batch) if ended else None
        self._dispatch.send_each(queued)
        if summary is not None:
            facts = summary.model_dump(mode="json", exclude={"errors"})
            events.emit("dspy.optimization.batch_complete", **facts)
            await self._answers.quietly(self._answers.give_batch, batch_id)
            return
        await self._tell(batch)

    def enqueue_nightly(self, tier: str) -> None:
        """Enqueue tonight's batch of a tier for each registered program.

        Raises Transient if the broker is away.
        """
        modules.load(self._settings.programs)
        tonight = self._settings.night(datetime.now(UTC))
        for program in registry.names():
            payload = OptimizeTier(
                program=program,
                tier=tier,
                night=tonight,
                max_concurrent=self._settings.nightly_max_concurrent,
                max_lm_calls=self._settings.nightly_max_lm_calls,
                max_usd=self._settings.nightly_max_usd,
                max_seconds=self._settings.nightly_max_seconds,
            )
            try:
                self._outbox.enqueue(payload)
            except Exception as error:
                raise Transient(f"the broker failed: {type(error).__name__}") from error

    async def _tell(self, batch: Batch) -> None:
        """Tell how far a batch is, once a second at most, and of a large one less often."""
        began = time.monotonic()
        if began < self._tell_next.get(batch.id, 0.0):
            return
        async with self._database.transaction() as session:
            progress = await _progress(session, batch)
        took = time.monotonic() - began
        self._tell_next = {batch.id: began + max(TELL_SECONDS, took / TELL_SHARE)}
        try:
            self._outbox.progress(batch.id, OptimizeTier.task, progress)
        except Exception as error:  # noqa: BLE001  # progress is no reason to fail
            _log.warning("progress not told", error=type(error).__name__)

    async def _begin(self, session: AsyncSession, payload: OptimizeTier) -> BatchSummary | None:
        """Write the batch's row; return the answer if this payload's answer is known already."""
        if not await records.accept(session, payload):
            job = await session.get_one(Job, payload.id)
            if job.state == records.ACCEPTED:
                return None
            if job.state != "done":
                raise records.failure(job.state, job.reason)
            return BatchSummary.model_validate(job.result)
        modules.load(self._settings.programs)
        registry.get(payload.program)
        self._table.band(payload.tier)
        limits = {"max_usd": payload.max_usd, "run_max_usd": payload.run_max_usd}
        Prices.from_settings(self._settings).require_for(self._settings, **limits)
        key = _key(payload)
        inserted = await session.exec(
            insert(Batch)
            .values(
                id=payload.id,
                key=key,
                program=payload.program,
                tier=payload.tier,
                state="planning",
                max_concurrent=payload.max_concurrent,
                min_new_examples=payload.min_new_examples,
                max_lm_calls=payload.max_lm_calls,
                max_usd=payload.max_usd,
                max_seconds=payload.max_seconds,
                run_max_lm_calls=payload.run_max_lm_calls,
                run_max_tokens=payload.run_max_tokens,
                run_max_usd=payload.run_max_usd,
                run_max_seconds=payload.run_max_seconds,
                planned_through="",
            )
            .on_conflict_do_nothing(index_elements=["key"])
        )
        if inserted.rowcount == 1:
            return None
        first = (await session.exec(select(Batch).where(Batch.key == key))).one()
        summary = await summarize(session, first)
        await records.complete(session, payload.id, OptimizeTier.task, "succeeded", result=summary)
        return summary

    async def _plan_page(self, batch_id: UUID) -> bool:
        """Plan the next page; False once the batch is planned."""
        async with self._database.transaction() as session:
            batch = await locked(session, batch_id)
            if batch is None or batch.state != "planning":
                return False
            if await planning.plan_page(session, batch, self._table):
                return True
            batch.state = "running"
            session.add(batch)
            return False

    async def _end(self, session: AsyncSession, batch: Batch) -> BatchSummary:
        await batch_statements.count_spent(session, batch)  # the run that ended just now
        summary = await summarize(session, batch)
        state = "done" if batch.over_budget is None else "over_budget"
        await session.exec(
            update(Batch)
            .where(col(Batch.id) == batch.id)
            .values(state=state, paused=False, finished_at=func.now())
        )
        await records.complete(session, batch.id, OptimizeTier.task, "succeeded", result=summary)
        return summary

    async def _ended(self, payload: OptimizeTier) -> BatchSummary | None:
        async with self._database.transaction() as session:
            job = await session.get_one(Job, payload.id)
            done = job.state == "done"
            return BatchSummary.model_validate(job.result) if done else None


def _key(payload: OptimizeTier) -> str:
    if payload.night is None:
        return str(payload.id)
    return f"{payload.program}/{payload.tier}/{payload.night.isoformat()}"


async def locked(session: AsyncSession, batch_id: UUID) -> Batch | None:
    """Lock the batch's row: planning, topping up and ending it happen one after another."""
    statement = select(Batch).where(Batch.id == batch_id).with_for_update()
    return (await session.exec(statement)).one_or_none()


async def _queue(session: AsyncSession, batch: Batch) -> list[Waiting]:
    if batch.paused or batch.over_budget is not None:
        return []
    connection = await session.connection()
    flying = await connection.execute(batch_statements.flying(), {"of_batch": batch.id})
    room = batch.max_concurrent - flying.scalar_one()
    if room <= 0:
        return []
    given = {"of_batch": batch.id, "room": room}
    queued = await connection.execute(batch_statements.queueing(), given)
    return [(run.id, run.finetuning, batch.id) for run in queued]


async def _unfinished(session: AsyncSession, batch_id: UUID) -> bool:
    connection = await session.connection()
    found = await connection.execute(batch_statements.unfinished(), {"of_batch": batch_id})
    return found.first() is not None


async def _progress(session: AsyncSession, batch: Batch) -> Progress:
    found = await figures(session, batch.id)
    return Progress(
        step="paused" if batch.paused else batch.state,
        done=found.ended,
        total=None if batch.state == "planning" else found.users,
        lm_calls=found.lm_calls,
        cost_usd=found.cost_usd,
    )
