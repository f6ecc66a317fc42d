"""How a run ends well: version, pointer, counters and row, all in one transaction or none."""

import time
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, func, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import AUTO, Choice, Optimized, OptimizeUser, Tier
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Learner, ProgramVersion, UserModel
from bespoke_workers.observe import events
from bespoke_workers.optimization.account import Account, Growth
from bespoke_workers.optimization.language_model.usage import Spent
from bespoke_workers.optimization.leases import Claim, Leases
from bespoke_workers.optimization.run import Improvement
from bespoke_workers.programs import pointer, state
from bespoke_workers.programs.in_use import Pointers, pointers_on
from bespoke_workers.programs.library import Library

_LEARNED: Final = (
    update(Learner)
    .where(
        col(Learner.user_id) == bindparam("of_user"),
        col(Learner.program) == bindparam("of_program"),
    )
    .values(optimized_total=func.greatest(col(Learner.optimized_total), bindparam("learned_from")))
)


@dataclass(frozen=True)
class Material:
    """What a run found when it began.

    ``learned_from`` is how many examples the user had ever added by then; ``in_use`` is the
    version that the new one is compared with, None for the plain program; ``base`` is the shared
    version that completes both, where the program has predictors that are not the user's own;
    ``for_everybody`` is the shared version that a user without one of their own has in use. What
    is ``done`` has been by another run, that ended while this one waited.
    """

    claim: Claim
    account: Account
    examples: list[dict[str, Any]]
    learned_from: int
    tier: Tier
    in_use: ProgramVersion | None = None
    done: bool = False
    optimizer: Choice | None = None
    options: dict[str, Any] = field(default_factory=dict)
    base: ProgramVersion | None = None
    for_everybody: ProgramVersion | None = None
    model: UserModel | None = None  # that the version in use is called with
    began: float = field(default_factory=time.monotonic)

    @property
    def in_use_id(self) -> UUID | None:
        """The id of the version in use."""
        return _id(self.in_use)

    def unchanged(self, reason: str) -> Optimized:
        """Return the result of a run that tried nothing."""
        return Optimized(
            user_id=self.claim.user_id,
            program=self.claim.program,
            examples=len(self.examples),
            tier=self.tier,
            optimizer=None,
            score_before=None,
            score_after=None,
            promoted=False,
            program_id=None,
            reason=reason,
            seconds=round(time.monotonic() - self.began, 3),
        )


class _OvertakenError(Exception):
    """Another version came into use in the middle of a promotion."""


class Publication:
    """Writes the end of a run that came to a result."""

    def __init__(
        self, database: Database, library: Library, leases: Leases, *, auto_save: bool
    ) -> None:
        """Without ``auto_save`` only versions that are put into use are saved."""
        self._database = database
        self._library = library
        self._leases = leases
        self._auto_save = auto_save

    async def nothing_tried(self, material: Material, reason: str) -> Optimized:
        """End a run that had nothing to try; raises LostLease if the row is not its own."""
        optimized = material.unchanged(reason)
        async with material.account.growth() as growth, self._database.transaction() as session:
            await self._end(session, material.claim, optimized, growth)
        return optimized

    async def publish(
        self, material: Material, improvement: Improvement, spent: Spent
    ) -> Optimized:
        """Save the new version under the job's id, and put it into use if it is better.

        One that is not better is saved unless only promoted ones are to be; a program that was
        there before is not saved again.

        Raises LostLease, with nothing written, if the row is not this run's any more.
        """
        claim, comparison = material.claim, improvement.comparison
        while True:
            try:
                optimized, version = await self._written(material, improvement, spent)
                break
            except _OvertakenError:  # nothing is written, and the next look sees by whom
                continue
        if version is not None:
            self._library.announce(version)
        events.emit(
            "dspy.optimization.complete",
            user_id=claim.user_id,
            program=claim.program,
            optimizer=optimized.optimizer,
            score_before=comparison.before,
            score_after=comparison.after,
            promoted=optimized.promoted,
            lm_calls=spent.lm_calls,
            cost_usd=spent.cost_usd,
            unpriced_calls=spent.unpriced_calls,
            seconds=optimized.seconds,
        )
        return optimized

    async def _written(
        self, material: Material, improvement: Improvement, spent: Spent
    ) -> tuple[Optimized, ProgramVersion | None]:
        """Write the end and the new version, if it is to be saved.

        Raises _OvertakenError, with nothing written, where another version comes into use
        between the look at what is in use and the promotion.
        """
        async with material.account.growth() as growth, self._database.transaction() as session:
            where = await self._pointers(session, material)
            overtaken = self._is_overtaken(where, material)
            promoted = improvement.comparison.better and not overtaken
            optimized = _optimized(material, improvement, spent, promoted=promoted)
            if overtaken:
                reason = "another version came into use while this one was made"
                optimized = optimized.model_copy(update={"reason": reason})
            made = improvement.optimizer is not None
            saved = promoted or (self._auto_save and made)
            if not saved:
                optimized = optimized.model_copy(update={"program_id": None})
            await self._end(session, material.claim, optimized, growth)
            version = await self._save(session, material, improvement, optimized) if saved else None
            if promoted:
                await _promote(session, material, where)
            await _learned(session, material)
        return optimized, version

    async def _save(
        self,
        session: AsyncSession,
        material: Material,
        improvement: Improvement,
        optimized: Optimized,
    ) -> ProgramVersion:
        """Save the new version."""
        claim = material.claim
        return await self._library.save_version(
            session,
            version_id=claim.job_id,
            user_id=claim.user_id,
            program=claim.program,
            state=state.dump(improvement.module),
            optimizer=optimized.optimizer,
            score=improvement.comparison.after,
            optimization_result=optimized.model_dump(mode="json"),
            parent_id=material.in_use_id,
            metadata=_metadata(material, improvement),
        )

    async def _pointers(self, session: AsyncSession, material: Material) -> Pointers:
        claim = material.claim
        return await pointers_on(await session.connection(), claim.program, claim.user_id)

    def _is_overtaken(self, where: Pointers, material: Material) -> bool:
        """Return whether the score is no comparison any more with what the user has in use."""
        in_use = where.own or where.base
        hybrid = self._library.own_predictors(material.claim.program) is not None
        base = where.base if hybrid else None
        now = tuple(None if mark is None else mark[2] for mark in (in_use, base))
        return now != (_id(material.in_use), _id(material.base))

    async def _end(
        self, session: AsyncSession, claim: Claim, optimized: Optimized, growth: Growth
    ) -> None:
        taken = growth.columns()
        await self._leases.end(session, claim, "succeeded", result=optimized, taken=taken)
        await records.complete(
            session,
            claim.job_id,
            OptimizeUser.task,
            "succeeded",
            user_id=claim.user_id,
            result=optimized,
        )


async def _promote(session: AsyncSession, material: Material, where: Pointers) -> None:
    """Put the new version into use, unless the user's pointer has moved since it was looked at.

    A base that moves meanwhile does as it would a moment later.
    """
    claim = material.claim
    instead_of = None if where.own is None else where.own[2]
    if not await pointer.promote(session, (claim.user_id, claim.program, claim.job_id), instead_of):
        raise _OvertakenError


def _id(version: ProgramVersion | None) -> UUID | None:
    return version.id if version else None


def _metadata(material: Material, improvement: Improvement) -> dict[str, Any]:
    """Return what is told of a version beside its result: also with which base it was scored."""
    metadata: dict[str, Any] = {"failed_lm_calls": improvement.failed_calls}
    if material.options:
        metadata["options"] = material.options
    if material.optimizer == AUTO:
        metadata["chosen_by"] = AUTO
    if material.base is not None:
        metadata["base_id"] = str(material.base.id)
    return metadata


def _optimized(
    material: Material, improvement: Improvement, spent: Spent, *, promoted: bool
) -> Optimized:
    comparison = improvement.comparison
    reason = comparison.reason
    if improvement.told is not None:
        reason = f"{reason}; auto: {improvement.told}"
    return material.unchanged(reason).model_copy(
        update={
            "optimizer": improvement.optimizer,
            "score_before": comparison.before,
            "score_after": comparison.after,
            "held_out": comparison.held_out,
            "promoted": promoted,
            "program_id": material.claim.job_id,
            "lm_calls": spent.lm_calls,
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "cost_usd": round(spent.cost_usd, 6),
            "unpriced_calls": spent.unpriced_calls,
            "candidates": improvement.candidates,
        }
    )


async def _learned(session: AsyncSession, material: Material) -> None:
    """Remember how much was learned from, so that the planner sees what is new since."""
    claim = material.claim
    given = {
        "of_user": claim.user_id,
        "of_program": claim.program,
        "learned_from": material.learned_from,
    }
    connection = await session.connection()
    await connection.execute(_LEARNED, given)
