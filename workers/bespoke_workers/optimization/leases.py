"""Leases: at any moment a row of ``optimization_job`` is at most one worker's.

All times are the database's, so that workers' clocks need not agree.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Interval,
    SelectBase,
    UpdateBase,
    and_,
    bindparam,
    func,
    or_,
    true,
    update,
)
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import Choice, Optimized
from bespoke_workers.database.direct import Taken
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import OptimizationJob
from bespoke_workers.errors import BespokeError, Cancelled
from bespoke_workers.optimization.batches.held import is_held
from bespoke_workers.optimization.language_model.usage import FIGURES, Spent
from bespoke_workers.optimization.one_at_a_time import another_runs
from bespoke_workers.optimization.stopping import LostLease

WHILE_IT_RAN = "cancelled while it ran"
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
CLAIMED: tuple[Any, ...] = (
    col(OptimizationJob.id).label("job_id"),
    col(OptimizationJob.user_id),
    col(OptimizationJob.program),
    col(OptimizationJob.tier),
    col(OptimizationJob.batch_id),
    col(OptimizationJob.optimizer),
    col(OptimizationJob.options),
    col(OptimizationJob.max_lm_calls),
    col(OptimizationJob.max_tokens),
    col(OptimizationJob.max_usd),
    col(OptimizationJob.max_seconds),
    col(OptimizationJob.seconds),
    col(OptimizationJob.finetuning),
    col(OptimizationJob.attempts),
)
TAKEN: tuple[Any, ...] = tuple(getattr(OptimizationJob, name) for name in FIGURES)


@dataclass(frozen=True)
class Claim:
    """A row that this run holds, and under whose name.

    ``spent`` and ``seconds`` are what runs of it have taken that died.
    """

    job_id: UUID
    user_id: str
    program: str
    tier: str | None
    batch_id: UUID | None
    optimizer: Choice | None
    options: dict[str, Any] | None
    max_lm_calls: int | None
    max_tokens: int | None
    max_usd: float | None
    max_seconds: float | None
    seconds: float
    finetuning: bool
    attempts: int
    owner: str
    spent: Spent

    @property
    def is_taken_up(self) -> bool:
        """Whether another run of the row has begun it."""
        return self.attempts > 1 or self.seconds > 0


class Leases:
    """Claims rows, renews the claims, and ends the rows that are still held.

    With ``tracked``, MLflow is to be told of each row claimed, however it ends.
    """

    def __init__(
        self, database: Database, lease: timedelta, *, max_attempts: int, tracked: bool = False
    ) -> None:
        self._database = database
        self.lease = lease
        self._max_attempts = max_attempts
        self._tracked = tracked

    async def claim(self, job_id: UUID) -> Claim | None:
        """Take a row that waits, or whose worker has died; None if there is nothing to take.

        Nor is there while another run of the same user and program is on its way.
        """
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:12]}"
        given = {
            "job_id": job_id,
            "owner": owner,
            "lease": self.lease,
            "max_attempts": self._max_attempts,
        }
        try:
            async with self._database.direct() as connection:
                found = (await connection.execute(_claiming(self._tracked), given)).first()
        except Taken:  # another run of the same user was claimed at the same moment
            return None
        if found is None:
            return None
        known = dict(found.items())
        spent = Spent(**{name: known.pop(name) for name in FIGURES})
        return Claim(**known, owner=owner, spent=spent)

    async def renew(self, claim: Claim, taken: Mapping[str, Any] = NOTHING) -> bool:
        """Hold the row for another lease; True if it is to be cancelled.

        ``taken`` are columns with what the run has taken by now. Raises LostLease if the row is
        no longer this run's.
        """
        statement = (
            update(OptimizationJob)
            .where(_held(claim))
            .values(lease_until=func.now() + self.lease, **taken)
            .returning(col(OptimizationJob.cancel_requested))
        )
        async with self._database.autocommit() as connection:
            found = (await connection.execute(statement)).scalar_one_or_none()
        if found is None:
            raise lost(claim)
        return bool(found)

    async def asked_to_cancel(self, claim: Claim) -> bool:
        """Return whether the row is to be cancelled; raises LostLease if it is not this run's."""
        given = {"job_id": claim.job_id, "owner": claim.owner}
        async with self._database.direct() as connection:
            found = (await connection.execute(_looking(), given)).first()
        if found is None:
            raise lost(claim)
        return bool(found.cancel_requested)

    async def hand_over(
        self, claim: Claim, *, finetuning: bool, taken: Mapping[str, Any] = NOTHING
    ) -> None:
        """Let go of a row, for whoever consumes the queue of fine-tuning runs or of others.

        ``taken`` are columns with what the run has taken. Raises LostLease if the row is not
        this run's any more, or is to be cancelled, which it is when the lease ends. It counts
        as no attempt: nobody died of it.
        """
        row = OptimizationJob
        statement = (
            update(row)
            .where(_held(claim), col(row.cancel_requested).is_(False))
            .values(
                state="queued",
                finetuning=finetuning,
                lease_owner=None,
                lease_until=None,
                attempts=col(row.attempts) - 1,
                sent_at=func.now(),
                **taken,
            )
        )
        async with self._database.autocommit() as connection:
            if (await connection.execute(statement)).rowcount != 1:
                raise lost(claim)

    async def hold(self, session: AsyncSession, claim: Claim) -> None:
        """Keep the row this run's until the transaction ends; raises LostLease if it is not."""
        statement = select(OptimizationJob.id).where(_held(claim)).with_for_update()
        if (await session.exec(statement)).first() is None:
            raise lost(claim)

    async def end(
        self,
        session: AsyncSession,
        claim: Claim,
        state: str,
        *,
        result: Optimized | None = None,
        error: BespokeError | None = None,
        taken: Mapping[str, Any] = NOTHING,
    ) -> None:
        """End the row in the caller's transaction; ``taken`` as for ``renew``.

        Raises LostLease if it is not this run's, Cancelled if it is to succeed although
        somebody was told that it is cancelled.
        """
        asked = col(OptimizationJob.cancel_requested)
        statement = (
            update(OptimizationJob)
            .where(_held(claim), asked.is_(False) if state == "succeeded" else true())
            .values(
                state=state,
                result=None if result is None else result.model_dump(mode="json"),
                error=None if error is None else str(error),
                error_type=None if error is None else type(error).__name__,
                lease_owner=None,
                lease_until=None,
                finished_at=func.now(),
                **taken,
            )
        )
        ended = await session.exec(statement)
        if ended.rowcount == 1:
            return
        if (await session.exec(select(asked).where(_held(claim)))).first():
            raise Cancelled(WHILE_IT_RAN)
        raise lost(claim)


def lost(claim: Claim) -> LostLease:
    """Make the error of a run whose row is no longer its own."""
    return LostLease(
        f"the lease on optimization {claim.job_id} ran out; another worker may have it"
    )


def _held(claim: Claim) -> ColumnElement[bool]:
    return _held_by(claim.job_id, claim.owner)


def _held_by(job_id: Any, owner: Any) -> ColumnElement[bool]:
    row = OptimizationJob
    return and_(col(row.id) == job_id, col(row.state) == "running", col(row.lease_owner) == owner)


@cache
def _looking() -> SelectBase:
    """Ask whether the row that an owner holds is to be cancelled."""
    held = _held_by(bindparam("job_id"), bindparam("owner"))
    return select(col(OptimizationJob.cancel_requested)).where(held)


@cache
def _claiming(tracked: bool) -> UpdateBase:
    """Take a row that waits, or whose worker has died."""
    row = OptimizationJob
    abandoned = and_(col(row.state) == "running", col(row.lease_until) < func.now())
    return (
        update(row)
        .where(
            col(row.id) == bindparam("job_id"),
            or_(col(row.state) == "queued", abandoned),
            col(row.attempts) < bindparam("max_attempts"),
            col(row.cancel_requested).is_(False),
            ~is_held(),
            ~another_runs(),
        )
        .values(
            state="running",
            lease_owner=bindparam("owner"),
            lease_until=func.now() + bindparam("lease", type_=Interval()),
            attempts=col(row.attempts) + 1,
            started_at=func.coalesce(col(row.started_at), func.now()),
            **({"track_at": func.now()} if tracked else {}),
        )
        .returning(*CLAIMED, *TAKEN)
    )
