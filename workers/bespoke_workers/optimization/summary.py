"""What a batch came to, counted from its users' rows."""

from typing import Final, cast
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import BatchSummary, Tier
from bespoke_workers.database.tables import Batch, OptimizationJob

ERRORS: Final = 1000
"""Users whose errors a summary names; it must stay a message, not a table."""
IN_VAIN: Final = ("failed", "parked", "cancelled")


async def counts(session: AsyncSession, batch_id: UUID) -> dict[str, int]:
    """Return how many of a batch's users are in each state."""
    row = OptimizationJob
    statement = (
        select(row.state, func.count()).where(row.batch_id == batch_id).group_by(col(row.state))
    )
    return dict((await session.exec(statement)).all())


async def summarize(session: AsyncSession, batch: Batch) -> BatchSummary:
    """Return what a batch has come to by now."""
    row = OptimizationJob
    by_state = await counts(session, batch.id)
    succeeded = by_state.get("succeeded", 0)
    promoted = (
        await session.exec(
            select(func.count()).where(
                col(row.batch_id) == batch.id,
                col(row.state) == "succeeded",
                col(row.result)["promoted"].as_boolean(),
            )
        )
    ).one()
    errors = await session.exec(
        select(row.user_id, row.error)
        .where(col(row.batch_id) == batch.id, col(row.state).in_(IN_VAIN))
        .order_by(col(row.id))
        .limit(ERRORS)
    )
    return BatchSummary(
        batch_id=batch.id,
        program=batch.program,
        tier=cast("Tier", batch.tier),
        eligible=sum(by_state.values()),
        promoted=promoted,
        unchanged=succeeded - promoted,
        failed=sum(by_state.get(state, 0) for state in IN_VAIN),
        errors={user_id: error or "cancelled" for user_id, error in errors},
    )
