"""The optimization of one user's program: accepted, run by whoever claims it, and not lost."""

import asyncio
from functools import cache
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, SelectBase, Uuid, any_, bindparam, func, insert, update
from sqlmodel import col, select

from bespoke_schemas.optimization import FINETUNES, Optimized, OptimizeUser
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import OptimizationJob
from bespoke_workers.learning.examples import Examples
from bespoke_workers.optimization import shared_answers
from bespoke_workers.optimization.answers import ENDED, Answers
from bespoke_workers.optimization.batches.batch_statements import IN_VAIN
from bespoke_workers.optimization.batches.batches import Batches
from bespoke_workers.optimization.choosing.tiers import Table
from bespoke_workers.optimization.dispatch import Dispatch
from bespoke_workers.optimization.finetuning import providers
from bespoke_workers.optimization.finetuning.removal import Removal
from bespoke_workers.optimization.language_model import lm_cache_folders
from bespoke_workers.optimization.language_model.lm import rate
from bespoke_workers.optimization.language_model.pace import LocalPace, Pace
from bespoke_workers.optimization.language_model.prices import Prices
from bespoke_workers.optimization.language_model.usage import FIGURES
from bespoke_workers.optimization.leases import Claim, Leases
from bespoke_workers.outbox import Outbox
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings

_log = structlog.get_logger("bespoke.optimization")


class Optimization:
    """Accepts optimizations, runs them, and takes up again what was left lying."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        outbox: Outbox,
        library: Library,
        examples: Examples,
        pace: Pace | None = None,
    ) -> None:
        """``pace`` is that of the language model; None: this process is the only one."""
        self._database = database
        self._settings = settings
        self._outbox = outbox
        self._library = library
        self._examples = examples
        self._pace = pace or LocalPace(rate(settings))
        self._leases = Leases(
            database,
            settings.lease,
            max_attempts=settings.max_deliveries,
            tracked=settings.mlflow_uri is not None,
        )
        self._dispatch = Dispatch(database, outbox, max_attempts=settings.max_deliveries)
        self._prices = Prices.from_settings(settings)
        self._answers = Answers(database, outbox)
        self._batches = Batches(database, settings, outbox)
        self._removal = Removal(database, settings)

    async def accept(self, payload: OptimizeUser) -> Optimized | None:
        """Write the row and send "run it"; None, since the answer comes from the run.

        A delivery after the end answers as the job ended. Raises Refused for an unknown
        program or tier and for options that the optimizer does not have, Misconfigured where
        no language model is set, Cancelled if it was cancelled.
        """
        async with self._database.transaction() as session:
            fresh = await records.accept(session, payload)
            if fresh:
                self._library.registered(payload.program)
                self._prices.require_for(self._settings, max_usd=payload.max_usd)
                self._check_choice(payload)
                await session.exec(
                    insert(OptimizationJob).values(
                        id=payload.id,
                        user_id=payload.user_id,
                        program=payload.program,
                        tier=payload.tier,
                        optimizer=payload.optimizer,
                        options=payload.options or None,
                        max_lm_calls=payload.max_lm_calls,
                        max_tokens=payload.max_tokens,
                        max_usd=payload.max_usd,
                        max_seconds=payload.max_seconds,
                        finetuning=payload.optimizer == FINETUNES,
                        state="queued",
                    )
                )
        if not fresh:
            return await self._answers.recorded(payload.id)
        self._dispatch.send([payload.id], finetuning=payload.optimizer == FINETUNES)
        return None

    async def run(self, job_id: UUID) -> Optimized | None:
        """Run the row; None if another worker has it, the recorded result if it has ended.

        Raises the failure that the row ended with.
        """
        claim = await self._leases.claim(job_id)
        if claim is None:
            return await self._answers.recorded(job_id)
        # Only a worker that really runs something pays for the import of DSPy.
        from bespoke_workers.optimization.user_run import UserRun

        run = UserRun(
            self._database,
            self._settings,
            self._outbox,
            self._library,
            self._examples,
            self._leases,
            self._pace,
        )
        try:
            return await run.perform(claim)
        finally:
            await self._after(claim)

    def _check_choice(self, payload: OptimizeUser) -> None:
        """Raise Refused for an unknown tier, or options that the optimizer does not take."""
        if payload.tier is not None:
            Table.from_settings(self._settings).band(payload.tier)
        if payload.optimizer is not None:
            from bespoke_workers.optimization.choosing import choices

            choices.check(payload.optimizer, payload.options)
        if payload.optimizer == FINETUNES:
            providers.require(self._settings)

    async def reap(self) -> None:
        """Send again, end, answer and top up whatever a dead worker left behind."""
        await self._dispatch.end_abandoned()
        await self._dispatch.take_back()
        await self._dispatch.send_again()
        await self._batches.top_up_open()
        await self._answers.repeat()
        await self._removal.needless()
        await self._remove_old_answers()
        await shared_answers.remove_ended(self._database)

    async def _after(self, claim: Claim) -> None:
        """Do what follows the end of a run; the reaper does it too, should this one fail."""
        try:
            await self._remove_old_answers()
            if claim.batch_id is None:
                await self._answers.quietly(self._answers.give, claim.job_id)
            await self._dispatch.send_next(claim.user_id, claim.program)
            if claim.batch_id is not None:
                await self._batches.top_up(claim.batch_id)
            if claim.finetuning:
                await self._removal.of_run(claim.job_id)
        except Exception as error:  # noqa: BLE001  # the run's own outcome is what counts
            _log.warning("left to the reaper", about=str(claim.job_id), error=type(error).__name__)

    async def _remove_old_answers(self) -> None:
        """Remove this machine's LM caches of jobs that ended, here or elsewhere, or were erased."""
        found = {UUID(name) for name in lm_cache_folders.left_over(self._settings.home)}
        if not found:
            return
        async with self._database.direct() as connection:
            known = await connection.execute(_states(), {"ids": sorted(found)})
        states = {one.id: one.state for one in known.all()}
        for job_id in found:
            state = states.get(job_id)
            if state is not None and state not in ENDED:
                continue
            if state in IN_VAIN:
                await self._settle(job_id)
            lm_cache_folders.remove(self._settings.home, job_id)

    async def _settle(self, job_id: UUID) -> None:
        """Count what a killed run paid after it last renewed its lease, as its answers tell it."""
        row = OptimizationJob
        ended_in_vain = (col(row.id) == job_id, col(row.state).in_(IN_VAIN))
        spent = await asyncio.to_thread(lm_cache_folders.spent, self._settings.home, job_id)
        more = {
            name: func.greatest(getattr(row, name), figure)
            for name, figure in zip(FIGURES, spent, strict=True)
        }
        async with self._database.transaction() as session:
            await session.exec(update(row).where(*ended_in_vain).values(more))


@cache
def _states() -> SelectBase:
    """Ask how runs of these ids are."""
    row = OptimizationJob
    ids = bindparam("ids", type_=ARRAY(Uuid()))
    return select(row.id, row.state).where(col(row.id) == any_(ids))
