"""Sending "run this row", and sending it again where the message or its worker was lost."""

from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, SelectBase, and_, bindparam, case, func, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import OptimizationJob
from bespoke_workers.errors import Cancelled, Parked
from bespoke_workers.optimization.batches.held import is_held
from bespoke_workers.optimization.leases import WHILE_IT_RAN
from bespoke_workers.optimization.one_at_a_time import another_runs
from bespoke_workers.outbox import Outbox

FIRST_PATIENCE: Final = timedelta(seconds=5)
LONGEST_PATIENCE: Final = timedelta(minutes=15)
DOUBLINGS: Final = 8  # after that many, the longest patience has been reached
PAGE: Final = 500

Waiting = tuple[UUID, bool, UUID | None]
"""A row that waits: its id, whether it fine-tunes, and its batch."""

_log = structlog.get_logger("bespoke.optimization")


class Dispatch:
    """Sees to it that every queued row has a message on its way to a worker."""

    def __init__(self, database: Database, outbox: Outbox, *, max_attempts: int) -> None:
        self._database = database
        self._outbox = outbox
        self._max_attempts = max_attempts

    def send(
        self, job_ids: Iterable[UUID], *, finetuning: bool = False, answered: bool = True
    ) -> None:
        """Send messages for rows that are committed as queued; a lost one is sent again later."""
        for job_id in job_ids:
            try:
                self._outbox.run_optimization(job_id, finetuning=finetuning, answered=answered)
            except Exception as error:  # noqa: BLE001  # whichever way the broker fails
                _log.warning("left to the reaper", about=str(job_id), error=type(error).__name__)

    def send_each(self, rows: Iterable[Waiting]) -> None:
        """Send messages for rows, each to the queue of its kind."""
        for job_id, finetuning, batch_id in rows:
            self.send([job_id], finetuning=finetuning, answered=batch_id is None)

    async def send_again(self) -> None:
        """Send again what waits for too long, or whose worker has died."""
        while True:
            async with self._database.transaction() as session:
                due = await self._due(session)
            self.send_each(due)
            if len(due) < PAGE:
                return

    async def take_back(self) -> None:
        """Let what died in a batch that is held wait with the others that have no message.

        As long as it counts as running, no other run of its user and program could begin.
        """
        row = OptimizationJob
        statement = (
            update(row)
            .where(
                _abandoned(),
                col(row.attempts) < self._max_attempts,
                col(row.cancel_requested).is_(False),
                is_held(),
            )
            .values(state="planned", lease_owner=None, lease_until=None)
        )
        async with self._database.transaction() as session:
            await session.exec(statement)

    async def send_next(self, user_id: str, program: str) -> None:
        """Send what waited for the end of another run of the same user and program."""
        given = {"user_id": user_id, "program": program}
        async with self._database.direct() as connection:
            found = (await connection.execute(_waiting(), given)).all()
        self.send_each((one.id, one.finetuning, one.batch_id) for one in found)

    async def end_abandoned(self) -> list[UUID]:
        """End rows whose worker died and that are not to be run again; return their ids."""
        row = OptimizationJob
        reason = str(Parked.after(self._max_attempts))
        cancelled = col(row.cancel_requested)
        statement = (
            update(row)
            .where(
                _abandoned(),
                or_(col(row.attempts) >= self._max_attempts, cancelled),
            )
            .values(
                state=case((cancelled, "cancelled"), else_="parked"),
                error=case((cancelled, WHILE_IT_RAN), else_=reason),
                error_type=case((cancelled, Cancelled.__name__), else_=Parked.__name__),
                lease_owner=None,
                lease_until=None,
                finished_at=func.now(),
            )
            .returning(col(row.id), col(row.user_id), col(row.state), col(row.error))
        )
        async with self._database.transaction() as session:
            ended = (await session.exec(statement)).all()
            for job_id, user_id, state, error in ended:
                await records.complete(
                    session, job_id, OptimizeUser.task, state, user_id=user_id, reason=error
                )
        return [job_id for job_id, *_ in ended]

    async def _due(self, session: AsyncSession) -> list[Waiting]:
        """Mark a page of rows as sent again; return them.

        Patience doubles with each sending: rows may wait for hours behind others, and each
        further message about them would only lengthen the queue.
        """
        row = OptimizationJob
        doublings = func.least(col(row.sends), DOUBLINGS)
        patience = func.least(FIRST_PATIENCE * func.power(2, doublings), LONGEST_PATIENCE)
        due = (
            select(row.id)
            .where(
                or_(
                    and_(col(row.state) == "queued", col(row.sent_at) < func.now() - patience),
                    and_(_abandoned(), col(row.attempts) < self._max_attempts),
                ),
                col(row.cancel_requested).is_(False),
                ~is_held(),
                ~another_runs(),
            )
            .limit(PAGE)
            .with_for_update(skip_locked=True)
        )
        sent = await session.exec(
            update(row)
            .where(col(row.id).in_(due))
            .values(
                state="queued",
                lease_owner=None,
                lease_until=None,
                sent_at=func.now(),
                sends=col(row.sends) + 1,
            )
            .returning(col(row.id), col(row.finetuning), col(row.batch_id))
        )
        return [(one.id, one.finetuning, one.batch_id) for one in sent.all()]


def _abandoned() -> ColumnElement[bool]:
    row = OptimizationJob
    return and_(col(row.state) == "running", col(row.lease_until) < func.now())


@cache
def _waiting() -> SelectBase:
    """Ask what waits for the end of another run of the same user and program."""
    row = OptimizationJob
    waiting = select(row.id, row.finetuning, row.batch_id).where(
        col(row.user_id) == bindparam("user_id"),
        col(row.program) == bindparam("program"),
        col(row.state) == "queued",
        col(row.cancel_requested).is_(False),
        ~is_held(),
    )
    return waiting.order_by(col(row.id))
