"""One claimed row from its claim to its end."""

from functools import partial
from typing import Any

import structlog
from sqlmodel import select

from bespoke_schemas.optimization import Optimized, Optimizer, OptimizeUser
from bespoke_schemas.program_state import pick, pools
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Learner
from bespoke_workers.errors import Cancelled, Permanent, Refused, Transient, UnexpectedFailure
from bespoke_workers.learning.embeddings import ExampleEmbeddings
from bespoke_workers.learning.examples import Examples
from bespoke_workers.observe import events, logging
from bespoke_workers.optimization import lm, lm_cache_folders, one_at_a_time
from bespoke_workers.optimization.checkpoints import RunCheckpoints
from bespoke_workers.optimization.leases import Claim, Leases
from bespoke_workers.optimization.lm_cache import JobCache
from bespoke_workers.optimization.optimizers import needs_vectors
from bespoke_workers.optimization.pace import Pace
from bespoke_workers.optimization.publication import Material, Publication
from bespoke_workers.optimization.run import Assignment, Improvement, improve
from bespoke_workers.optimization.split import split
from bespoke_workers.optimization.stopping import Budget, LostLease, Stop
from bespoke_workers.optimization.supervision import Supervision
from bespoke_workers.optimization.tiers import FEWEST_EXAMPLES, Table
from bespoke_workers.optimization.usage import Spent, Usage
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.outbox import Outbox
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings

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
        self._checkpoints = RunCheckpoints(database, library, leases, every)
        self._budget = Budget(settings.optimization_seconds, settings.optimization_lm_calls)

    async def perform(self, claim: Claim) -> Optimized | None:
        """Run the row and write its end; None if another worker has taken it over.

        Raises the failure that the row ended with. Transient, from the database, ends
        nothing: the lease runs out and the run is taken up again.
        """
        events.emit("dspy.optimization.start", user_id=claim.user_id, program=claim.program)
        stop = Stop(self._budget)
        supervision = Supervision(self._leases, self._outbox, claim, stop)
        try:
            async with supervision.lease():
                return await self._optimize(claim, stop, supervision)
        except LostLease as error:
            _log.warning("run given up", reason=str(error))
            return None
        except Transient:
            raise
        except Permanent as error:
            await self._failed(claim, error)
            raise
        except Exception as error:  # noqa: BLE001  # a bug's text may hold contents: it ends here
            _log.error(
                "unexpected failure", error=type(error).__name__, places=logging.places(error)
            )
            bug = UnexpectedFailure.of(error, OptimizeUser.task)
            await self._failed(claim, bug)
            raise bug from None

    async def _optimize(self, claim: Claim, stop: Stop, supervision: Supervision) -> Optimized:
        material = await self._material(claim)
        count, optimizer = len(material.examples), material.optimizer
        if optimizer is None:
            return await self._publication.nothing_tried(material, self._no_optimizer(material))
        if count < FEWEST_EXAMPLES:
            return await self._publication.nothing_tried(
                material, f"{count} examples; {optimizer} needs {FEWEST_EXAMPLES} at least"
            )
        async with self._database.transaction() as session:
            done = await one_at_a_time.has_been_done(session, claim, material.tier, count)
        if done:
            return await self._publication.nothing_tried(material, one_at_a_time.NOTHING_NEW)
        improvement, spent = await self._improve(material, optimizer, stop, supervision)
        return await self._publication.publish(material, improvement, spent)

    def _no_optimizer(self, material: Material) -> str:
        count, fewest = len(material.examples), self._table.first_optimized()
        if count < fewest:
            return f"{count} examples; optimizing begins at {fewest}"
        return f"{count} examples; tier {material.tier!r} has no optimizer"

    async def _material(self, claim: Claim) -> Material:
        async with self._database.transaction() as session:
            found = await session.exec(
                select(Learner.added_total, Learner.tier).where(
                    Learner.user_id == claim.user_id, Learner.program == claim.program
                )
            )
            learned_from, by_hand = found.first() or (0, None)
            examples = await self._examples.for_training(session, claim.user_id, claim.program)
            tier = claim.tier or self._table.tier_for(len(examples), by_hand)
            optimizer, options = self._chosen(claim, tier)
            return Material(
                claim=claim,
                examples=examples,
                learned_from=learned_from,
                tier=tier,
                optimizer=optimizer,
                options=options,
                in_use=await self._library.active(session, claim.user_id, claim.program),
                base=await self._library.base_for(session, claim.program, None),
            )

    def _chosen(self, claim: Claim, tier: str) -> tuple[Optimizer | None, dict[str, Any]]:
        """Return the optimizer that was asked for, else the tier's, with its options."""
        if claim.optimizer is not None:
            return claim.optimizer, claim.options or {}
        band = self._table.band(tier)
        return band.optimizer, band.options

    async def _improve(
        self, material: Material, optimizer: Optimizer, stop: Stop, supervision: Supervision
    ) -> tuple[Improvement, Spent]:
        claim = material.claim
        program, in_use = self._library.registered(claim.program), self._module_in_use(material)
        vectors = None
        if needs_vectors(optimizer) or pools(in_use):
            owned = (claim.user_id, claim.program)
            vectors = await self._embeddings.of_user(*owned, program.inputs)
            pick(in_use, vectors)
        assignment = Assignment(
            program=program,
            optimizer=optimizer,
            options=material.options,
            vectors=vectors,
            in_use=in_use,
            student=self._library.student_for(claim.program, material.base),
            examples=split(material.examples, seed=f"{claim.user_id}/{claim.program}"),
        )
        model = lm.build(self._settings)
        with JobCache(lm_cache_folders.directory(self._settings.home, claim.job_id)) as cache:
            usage = Usage(cache.spent_before)
            stop.paid_before(cache.spent_before.lm_calls)
            snapshots = self._checkpoints.snapshots()
            watch = Watch(stop, usage, snapshots)
            async with self._checkpoints.kept(claim, optimizer, snapshots):
                improvement = await supervision.run(
                    partial(improve, assignment, model, cache, stop, usage, watch, self._pace),
                    watch,
                    self._budget.seconds,
                    partial(self._failed, claim),
                )
        return improvement, usage.spent

    def _module_in_use(self, material: Material) -> Any:
        """Make the module to beat; the plain one where the program has changed its shape since."""
        program, version, base = material.claim.program, material.in_use, material.base
        try:
            return self._library.module_for(program, version, base)
        except Refused:
            if version is None:
                raise
            _log.warning("version in use does not fit the program", version=str(version.id))
            return self._library.module_for(program, None, base)

    async def _failed(self, claim: Claim, error: Permanent) -> None:
        """End the row with its reason, unless it has ended or is another's."""
        if isinstance(error, LostLease):
            return
        state = "cancelled" if isinstance(error, Cancelled) else "failed"
        try:
            async with self._database.transaction() as session:
                await self._leases.end(session, claim, state, error=error)
                await records.complete(
                    session,
                    claim.job_id,
                    OptimizeUser.task,
                    state,
                    user_id=claim.user_id,
                    reason=str(error),
                )
        except LostLease:
            return
        events.emit(
            "dspy.optimization.error",
            user_id=claim.user_id,
            program=claim.program,
            state=state,
            error=type(error).__name__,
        )
        # Whoever waits learns of it now; the run's own thread may still wait for an LM call.
        try:
            self._outbox.fail(claim.job_id, error)
        except Exception as problem:  # noqa: BLE001  # the reaper tells it again
            _log.warning("failure not told yet", error=type(problem).__name__)
