"""One claimed row from its claim to its end."""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import bindparam
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import AUTO, FINETUNES, Choice, Optimized, OptimizeUser
from bespoke_schemas.program_state import pick, pools
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Learner
from bespoke_workers.errors import Cancelled, Permanent, Refused, Transient, UnexpectedFailure
from bespoke_workers.learning.embeddings import ExampleEmbeddings
from bespoke_workers.learning.examples import Examples
from bespoke_workers.observe import events, logging
from bespoke_workers.optimization import one_at_a_time
from bespoke_workers.optimization.account import Account
from bespoke_workers.optimization.budget import Budget
from bespoke_workers.optimization.checkpoints import RunCheckpoints
from bespoke_workers.optimization.choosing.ladder import Ladder, Rung
from bespoke_workers.optimization.choosing.ladder import ladder as ladder_of
from bespoke_workers.optimization.choosing.tiers import FEWEST_EXAMPLES, Table
from bespoke_workers.optimization.finetuning import providers
from bespoke_workers.optimization.finetuning.compiling import Tuning, tuning
from bespoke_workers.optimization.finetuning.rows import Rows
from bespoke_workers.optimization.finetuning.trainer import Trainer
from bespoke_workers.optimization.language_model import lm, lm_cache_folders
from bespoke_workers.optimization.language_model.lm_cache import JobCache
from bespoke_workers.optimization.language_model.pace import Pace
from bespoke_workers.optimization.language_model.prices import Prices
from bespoke_workers.optimization.language_model.usage import Usage
from bespoke_workers.optimization.leases import Claim, Leases
from bespoke_workers.optimization.optimizers.optimizers import needs_vectors
from bespoke_workers.optimization.publication import Material, Publication
from bespoke_workers.optimization.run import Assignment, Improvement, improve
from bespoke_workers.optimization.shared_answers import SharedAnswers
from bespoke_workers.optimization.snapshots import Snapshots
from bespoke_workers.optimization.stopping import LostLease, Stop
from bespoke_workers.optimization.supervision import Supervision
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.outbox import Outbox
from bespoke_workers.programs.in_use import pointers_on
from bespoke_workers.programs.library import Library
from bespoke_workers.programs.user_models import UserModels, model_of
from bespoke_workers.settings import Settings

_LEARNER: Final = select(Learner.added_total, Learner.tier).where(
    Learner.user_id == bindparam("user_id"), Learner.program == bindparam("program")
)

_log = structlog.get_logger("bespoke.optimization")


class UserRun:
    """Runs one user's optimization whose row this worker has claimed."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        outbox: Outbox,
        library: Library,
        examples: Examples,
        leases: Leases,
        pace: Pace,
    ) -> None:
        self._database = database
        self._settings = settings
        self._outbox = outbox
        self._library = library
        self._examples = examples
        self._embeddings = ExampleEmbeddings(database, settings)
        self._leases = leases
        self._pace = pace
        self._table = Table.from_settings(settings)
        self._publication = Publication(database, library, leases, auto_save=settings.auto_save)
        every = settings.checkpoint_every if settings.save_intermediate_results else None
        last = settings.auto_save or settings.save_intermediate_results
        self._checkpoints = RunCheckpoints(database, library, leases, every, last=last)
        self._tried: tuple[Choice, Snapshots] | None = None
        self._ended_with: Permanent | None = None
        self._prices = Prices.from_settings(settings)
        self._budget = Budget(
            settings.optimization_seconds,
            settings.optimization_lm_calls,
            settings.optimization_tokens,
            settings.optimization_usd,
        )

    async def perform(self, claim: Claim) -> Optimized | None:
        """Run the row and write its end; None if another worker has taken it over.

        Raises the failure that the row ended with. Transient, from the database, ends
        nothing: the lease runs out and the run is taken up again.
        """
        events.emit("dspy.optimization.start", user_id=claim.user_id, program=claim.program)
        usage = Usage(claim.spent, self._prices.cost)
        stop = Stop(self._budget_of(claim), usage, seconds_before=claim.seconds)
        account = Account(self._database, claim, usage, stop)
        supervision = Supervision(self._leases, self._outbox, claim, stop, account)
        try:
            async with supervision.lease():
                return await self._optimize(claim, stop, usage, account, supervision)
        except LostLease as error:
            _log.warning("run given up", reason=str(error))
            return None
        except asyncio.CancelledError:  # its worker is shut down
            await self._hand_over(claim, account)
            raise
        except Transient:
            raise
        except Permanent as error:
            raise await self._failed(claim, account, error) from None
        except Exception as error:  # noqa: BLE001  # a bug's text may hold contents: it ends here
            _log.error(
                "unexpected failure", error=type(error).__name__, places=logging.places(error)
            )
            bug = UnexpectedFailure.of(error, OptimizeUser.task)
            raise await self._failed(claim, account, bug) from None
        finally:
            await self._settle(account)

    def _budget_of(self, claim: Claim) -> Budget:
        budget = self._budget
        if claim.finetuning:
            budget = replace(budget, seconds=self._settings.finetune_seconds)
        return budget.lowered(
            lm_calls=claim.max_lm_calls,
            tokens=claim.max_tokens,
            usd=claim.max_usd,
            seconds=claim.max_seconds,
        )

    async def _optimize(
        self, claim: Claim, stop: Stop, usage: Usage, account: Account, supervision: Supervision
    ) -> Optimized | None:
        material = await self._material(claim, account)
        count, optimizer = len(material.examples), material.optimizer
        if optimizer == FINETUNES and not claim.finetuning:
            await self._leases.hand_over(
                claim, finetuning=True
            )  # it is sent again once this run has let go
            return None
        if optimizer is None:
            return await self._publication.nothing_tried(material, self._no_optimizer(material))
        if count < FEWEST_EXAMPLES:
            return await self._publication.nothing_tried(
                material, f"{count} examples; {optimizer} needs {FEWEST_EXAMPLES} at least"
            )
        if material.done:
            return await self._publication.nothing_tried(material, one_at_a_time.NOTHING_NEW)
        improvement = await self._improve(material, optimizer, stop, usage, supervision)
        return await self._publication.publish(material, improvement, usage.spent)

    def _no_optimizer(self, material: Material) -> str:
        count, fewest = len(material.examples), self._table.first_optimized()
        if count < fewest:
            return f"{count} examples; optimizing begins at {fewest}"
        return f"{count} examples; tier {material.tier!r} has no optimizer"

    async def _material(self, claim: Claim, account: Account) -> Material:
        owned = {"user_id": claim.user_id, "program": claim.program}
        async with self._database.direct_transaction() as connection:
            known = (await connection.execute(_LEARNER, owned)).first()
            examples = await self._examples.for_training(connection, claim.user_id, claim.program)
            by_hand = known.tier if known else None
            tier = claim.tier or self._table.tier_for(len(examples), by_hand)
            account.tier = tier
            done = await one_at_a_time.has_been_done(connection, claim, tier, len(examples))
            where = await pointers_on(connection, claim.program, claim.user_id)
        optimizer, options = self._chosen(claim, tier)
        material = Material(
            claim=claim,
            account=account,
            examples=examples,
            learned_from=known.added_total if known else 0,
            done=done,
            tier=tier,
            optimizer=optimizer,
            options=options,
        )
        nothing_there = where.own is None and where.base is None
        return material if nothing_there else await self._with_versions(material)

    async def _with_versions(self, material: Material) -> Material:
        """Return the material with the versions that are in use."""
        user_id, program = material.claim.user_id, material.claim.program
        async with self._database.transaction() as session:
            in_use = await self._library.active(session, user_id, program)
            return replace(
                material,
                in_use=in_use,
                model=await model_of(session, in_use),
                base=await self._library.base_for(session, program, None),
                for_everybody=await self._library.active(session, None, program),
            )

    def _chosen(self, claim: Claim, tier: str) -> tuple[Choice | None, dict[str, Any]]:
        """Return the optimizer that was asked for, else the tier's, with its options."""
        if claim.optimizer is not None:
            return claim.optimizer, claim.options or {}
        band = self._table.band(tier)
        return band.optimizer, band.options

    async def _improve(
        self,
        material: Material,
        optimizer: Choice,
        stop: Stop,
        usage: Usage,
        supervision: Supervision,
    ) -> Improvement:
        claim = material.claim
        program = self._library.registered(claim.program)
        in_use = await asyncio.to_thread(self._module_in_use, material)
        base, ladder = None, None
        optimizers: list[str] = [optimizer]
        if optimizer == AUTO:
            base, ladder = self._base_module(material), self._ladder(material)
            optimizers = [rung.optimizer for rung in ladder.rungs]
        there = [module for module in (in_use, base) if module is not None]
        vectors = None
        if any(map(needs_vectors, optimizers)) or any(map(pools, there)):
            owned = (claim.user_id, claim.program)
            vectors = await self._embeddings.of_user(*owned, program.inputs)
            for module in there:
                pick(module, vectors)
        assignment = Assignment(
            program=program,
            optimizer=optimizer,
            options=material.options,
            vectors=vectors,
            in_use=in_use,
            base=base,
            ladder=ladder,
            student=partial(self._library.student_for, claim.program, material.base),
            examples=material.examples,
            seed=f"{claim.user_id}/{claim.program}",
        )
        model = lm.build(self._settings)
        answers = SharedAnswers(self._database, self._settings.home, claim)
        await answers.fetch()
        with JobCache(lm_cache_folders.directory(self._settings.home, claim.job_id)) as cache:
            usage.paid_before(cache.spent_before)
            snapshots = self._checkpoints.snapshots()
            self._tried = optimizer, snapshots
            watch = Watch(stop, usage, snapshots)
            async with answers.kept(), self._checkpoints.kept(claim, optimizer, snapshots):
                with self._tuning(claim, in_use, stop, usage):
                    return await supervision.run(
                        partial(improve, assignment, model, cache, stop, usage, watch, self._pace),
                        watch,
                        stop.seconds_left,
                        partial(self._failed, claim, material.account),
                    )

    def _tuning(
        self, claim: Claim, teacher: Any, stop: Stop, usage: Usage
    ) -> AbstractContextManager[None]:
        """Return the block in which a run may fine-tune, if that is what it is for."""
        if not claim.finetuning:
            return nullcontext()
        settings = self._settings
        trainer = Trainer(
            providers.require(settings),
            UserModels(settings),
            Rows(self._database, self._leases, claim),
            claim,
            stop,
            usd_per_million=settings.finetune_usd_per_million,
            spend=usage.add_training,
        )
        return tuning(Tuning(teacher, trainer.train))

    def _module_in_use(self, material: Material) -> Any:
        """Make the module to beat; the plain one where the program has changed its shape since."""
        program, version, base = material.claim.program, material.in_use, material.base
        try:
            return self._library.module_for(program, version, base, material.model)
        except Refused:
            if version is None:
                raise
            _log.warning("version in use does not fit the program", version=str(version.id))
            return self._library.module_for(program, None, base)

    def _base_module(self, material: Material) -> Any | None:
        """Make the base program, which ``auto`` tries where the user has a version in use."""
        if material.in_use is None or material.in_use.user_id is None:
            return None
        program = material.claim.program
        try:
            return self._library.module_for(program, material.for_everybody, material.base)
        except Refused:
            return self._library.module_for(program, None, material.base)

    def _ladder(self, material: Material) -> Ladder:
        """Return what ``auto`` tries, among it what the tier has."""
        band, own = self._table.band(material.tier), None
        optimizer = band.optimizer
        if optimizer is not None and optimizer != AUTO and optimizer != FINETUNES:
            own = Rung(optimizer, band.options)
        # The climb keeps the best so far at its own limit; at the run's, all would be lost.
        ladder = ladder_of(material.options, len(material.examples), own)
        return ladder.within(self._budget_of(material.claim).lm_calls)

    async def _hand_over(self, claim: Claim, account: Account) -> None:
        """Let another worker go on at once; where that fails, the lease runs out."""
        try:
            async with account.growth() as growth:
                columns = growth.columns()
                await self._leases.hand_over(claim, finetuning=claim.finetuning, taken=columns)
        except Exception as error:  # noqa: BLE001  # whichever way the database fails
            _log.warning("run not handed over", error=type(error).__name__)

    async def _settle(self, account: Account) -> None:
        """Count what the run's last calls took; upkeep does it too, should this fail."""
        try:
            await account.settle()
        except Exception as error:  # noqa: BLE001  # the run's own outcome is what counts
            _log.warning("run not settled", error=type(error).__name__)

    async def _with_best(self, session: AsyncSession, claim: Claim, error: Permanent) -> Permanent:
        """Save the best program so far; return the error, which says then where it is kept."""
        if self._tried is None:
            return error
        name = await self._checkpoints.save_last(session, claim, *self._tried)
        if name is None:
            return error
        return type(error)(f"{error}; the best so far is kept as the checkpoint {name!r}")

    async def _failed(self, claim: Claim, account: Account, error: Permanent) -> Permanent:
        """End the row with its reason, unless it has ended or is another's; return the reason."""
        if isinstance(error, LostLease):
            return error
        state = "cancelled" if isinstance(error, Cancelled) else "failed"
        try:
            async with account.growth() as growth, self._database.transaction() as session:
                error = await self._with_best(session, claim, error)
                taken = growth.columns()
                await self._leases.end(session, claim, state, error=error, taken=taken)
                await records.complete(
                    session,
                    claim.job_id,
                    OptimizeUser.task,
                    state,
                    user_id=claim.user_id,
                    reason=str(error),
                )
        except LostLease:
            return self._ended_with or error
        self._ended_with = error
        events.emit(
            "dspy.optimization.error",
            user_id=claim.user_id,
            program=claim.program,
            state=state,
            error=type(error).__name__,
        )
        if claim.batch_id is not None:
            return error
        # Whoever waits learns of it now; the run's own thread may still wait for an LM call.
        try:
            self._outbox.fail(claim.job_id, error)
        except Exception as problem:  # noqa: BLE001  # the reaper tells it again
            _log.warning("failure not told yet", error=type(problem).__name__)
        return error
