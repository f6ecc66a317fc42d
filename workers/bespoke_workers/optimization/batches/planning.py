"""Who is in a batch: users of the tier with something new to learn from, page by page."""

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import uuid7
from bespoke_workers.database.tables import Batch, Learner, OptimizationJob
from bespoke_workers.optimization.batches.batch_statements import OPEN_RUNS
from bespoke_workers.optimization.choosing.tiers import FEWEST_EXAMPLES, Table

PAGE: Final = 2000
"""Learners that one transaction looks at, whether or not they are eligible."""


async def plan_page(session: AsyncSession, batch: Batch, table: Table) -> bool:
    """Write the rows of the next page's users; False if there was no further page.

    The batch's row is locked by the caller, and remembers how far it was planned.
    """
    page = select(Learner).where(
        col(Learner.program) == batch.program, col(Learner.user_id) > batch.planned_through
    )
    seen = page.order_by(col(Learner.user_id)).limit(PAGE).subquery()
    eligible = _eligible(seen.c, batch, table)
    connection = await session.connection()
    judged = select(seen.c.user_id, eligible).order_by(seen.c.user_id)
    users = (await connection.execute(judged)).all()
    if not users:
        return False
    chosen = [user_id for user_id, is_eligible in users if is_eligible]
    await _write(session, batch, chosen)
    batch.planned_through = users[-1][0]
    session.add(batch)
    return True


def _eligible(
    learner: ReadOnlyColumnCollection[str, Any], batch: Batch, table: Table
) -> ColumnElement[bool]:
    if batch.tier not in table.optimized:
        return literal(False)
    fewest, beyond = table.bounds(batch.tier)
    by_count = and_(
        or_(learner.tier.is_(None), learner.tier.not_in(table.names)),
        learner.example_count >= fewest,
        learner.example_count < beyond if beyond is not None else literal(True),
    )
    by_hand = and_(learner.tier == batch.tier, learner.example_count >= FEWEST_EXAMPLES)
    new = learner.added_total - learner.optimized_total
    return and_(or_(by_count, by_hand), new >= batch.min_new_examples, ~_runs(learner, batch))


def _runs(learner: ReadOnlyColumnCollection[str, Any], batch: Batch) -> ColumnElement[bool]:
    """Whether a run of the user's program is open: a second one would only race with it."""
    row = OptimizationJob
    return exists().where(
        col(row.user_id) == learner.user_id,
        col(row.program) == batch.program,
        col(row.state).in_(OPEN_RUNS),
    )


async def _write(session: AsyncSession, batch: Batch, users: list[str]) -> None:
    if not users:
        return
    rows = [
        {
            "id": uuid7(),
            "user_id": user_id,
            "program": batch.program,
            "tier": batch.tier,
            "batch_id": batch.id,
            "state": "planned",
            "answered": True,  # who waits, waits for the batch
            "max_lm_calls": batch.run_max_lm_calls,
            "max_tokens": batch.run_max_tokens,
            "max_usd": batch.run_max_usd,
            "max_seconds": batch.run_max_seconds,
        }
        for user_id in users
    ]
    connection = await session.connection()
    await connection.execute(
        insert(OptimizationJob).on_conflict_do_nothing(constraint="optimization_job_once_in_batch"),
        rows,
    )
