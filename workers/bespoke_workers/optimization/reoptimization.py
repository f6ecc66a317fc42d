"""Optimizing a user's program anew after enough feedback: once, and not while one is under way.

The row of the optimization is written in the transaction of the feedback that makes it due. So
there is one however often that feedback is delivered, and the reaper sends a message for it
where the first one was lost.
"""

import hashlib
from typing import Final
from uuid import UUID

from sqlalchemy import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import OptimizeUser, Tier
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Learner, OptimizationJob
from bespoke_workers.optimization.choosing.tiers import Table
from bespoke_workers.optimization.dispatch import Dispatch
from bespoke_workers.outbox import Outbox
from bespoke_workers.settings import Settings

UNDER_WAY: Final = ("planned", "queued", "running")


class Reoptimization:
    """Sees when a program is to be optimized anew, and has it done."""

    def __init__(self, database: Database, settings: Settings, outbox: Outbox) -> None:
        self._settings = settings
        self._table = Table.from_settings(settings)
        self._dispatch = Dispatch(database, outbox, max_attempts=settings.max_deliveries)

    def missing(self, learner: Learner) -> int | None:
        """Return how many new examples are missing until one is due; None: it never is."""
        return missing(
            every=self._settings.reoptimize_every,
            minimum=self._settings.reoptimize_minimum,
            count=learner.example_count,
            fewest=self._table.fewest_for(learner.tier),
            new=learner.added_total - max(learner.optimized_total, learner.requested_total),
        )

    def tier_for(self, count: int) -> Tier:
        """Return the tier that follows from a number of examples."""
        return self._table.tier_for(count)

    async def write_if_due(
        self, session: AsyncSession, learner: Learner, cause: UUID
    ) -> UUID | None:
        """Write the optimization that is due for a locked learner; return its id, or None.

        While one is under way none is due: what came after its begin is seen by the next
        feedback. Without a language model there is nothing that could be done.
        """
        if self.missing(learner) != 0 or not self._settings.lm:
            return None
        if await _is_under_way(session, learner):
            return None
        tier = learner.tier if learner.tier in self._table.names else None
        payload = OptimizeUser(
            id=follow_up(cause), user_id=learner.user_id, program=learner.program, tier=tier
        )
        await records.accept(session, payload)
        await session.exec(
            insert(OptimizationJob).values(
                id=payload.id,
                user_id=learner.user_id,
                program=learner.program,
                tier=tier,
                state="queued",
            )
        )
        learner.requested_total = learner.added_total
        return payload.id

    def send(self, job_id: UUID) -> None:
        """Send "run it" for one that is committed; the reaper does where that fails."""
        self._dispatch.send([job_id])


def missing(*, every: int, minimum: int, fewest: int | None, count: int, new: int) -> int | None:
    """Return how many new examples are missing until an optimization is due.

    None is below ``minimum``, nor below the ``fewest`` examples with which something is
    optimized. Returns None if none ever is: nothing is with ``fewest`` None or ``every`` 0.
    """
    if every == 0 or fewest is None:
        return None
    return max(every - new, max(minimum, fewest) - count, 0)


def follow_up(cause: UUID) -> UUID:
    """Return the id of the optimization that a job causes: always the same, and as old.

    It keeps the time and the version of the cause's id, by which an erasure judges both alike.
    """
    random = hashlib.sha256(cause.bytes + b"optimize").digest()[:8]
    value = (cause.int >> 64 << 64) | int.from_bytes(random)
    return UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62))


async def _is_under_way(session: AsyncSession, learner: Learner) -> bool:
    row = OptimizationJob
    statement = (
        select(row.id)
        .where(
            col(row.user_id) == learner.user_id,
            col(row.program) == learner.program,
            col(row.state).in_(UNDER_WAY),
        )
        .limit(1)
    )
    return (await session.exec(statement)).first() is not None
