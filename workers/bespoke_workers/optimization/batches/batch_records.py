"""What batches there are and how far they are, for whoever looks after them."""

from collections.abc import Sequence
from typing import Any

from bespoke_schemas.jobs import Cursor
from bespoke_schemas.optimization import (
    BatchesListed,
    BatchGot,
    BatchRecord,
    GetBatch,
    ListBatches,
    RunError,
)
from bespoke_workers.database.engine import Database
from bespoke_workers.optimization.batches import batch_statements as statements
from bespoke_workers.optimization.batches.summary import Figures


class BatchRecords:
    """Reads batches. No user is named unless the errors of one batch are asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, payload: ListBatches) -> BatchesListed:
        """Return a page of batches, newest first."""
        async with self._database.transaction() as session:
            connection = await session.connection()
            rows = (await connection.execute(statements.page(payload))).all()
        found = tuple(_listed(row) for row in rows[: payload.limit])
        if len(rows) <= payload.limit:
            return BatchesListed(batches=found, next=None)
        last = found[-1]
        return BatchesListed(batches=found, next=Cursor(at=last.started_at, job_id=last.batch_id))

    async def get(self, payload: GetBatch) -> BatchGot:
        """Tell how far a batch is; the errors of its users only if they are asked for."""
        async with self._database.transaction() as session:
            connection = await session.connection()
            rows = (await connection.execute(statements.one(payload.batch_id))).all()
            errors: Sequence[Any] = ()
            if rows and payload.errors:
                asked = statements.errors(payload.batch_id, payload.after, payload.errors)
                errors = (await connection.execute(asked)).all()
        if not rows:
            return BatchGot(batch=None)
        shown = errors[: payload.errors]
        return _got(rows).model_copy(
            update={
                "errors": tuple(_error(row) for row in shown),
                "next": shown[-1].id if len(errors) > len(shown) else None,
            }
        )


def _got(rows: Sequence[Any]) -> BatchGot:
    figures = Figures.of(row for row in rows if row.run_state is not None)
    first = rows[0]
    batch = BatchRecord(
        batch_id=first.batch_id,
        program=first.batch_program,
        tier=first.batch_tier,
        state=first.batch_state,
        users=figures.users,
        ended=figures.ended,
        failed=figures.failed,
        max_concurrent=first.batch_max_concurrent,
        lm_calls=figures.lm_calls,
        cost_usd=figures.cost_usd,
        started_at=first.batch_created_at,
        finished_at=first.batch_finished_at,
        over_budget=first.batch_over_budget,
    )
    return BatchGot(
        batch=batch,
        runs=figures.runs,
        promoted=figures.promoted,
        unchanged=figures.unchanged,
        score_before=figures.score_before,
        score_after=figures.score_after,
        prompt_tokens=figures.prompt_tokens,
        completion_tokens=figures.completion_tokens,
        unpriced_calls=figures.unpriced_calls,
        seconds=figures.seconds,
    )


def _listed(row: Any) -> BatchRecord:
    return BatchRecord(
        batch_id=row.id,
        program=row.program,
        tier=row.tier,
        state=row.state,
        users=row.users,
        ended=row.ended,
        failed=row.failed,
        max_concurrent=row.max_concurrent,
        lm_calls=row.lm_calls,
        cost_usd=row.cost_usd,
        started_at=row.created_at,
        finished_at=row.finished_at,
        over_budget=row.over_budget,
    )


def _error(row: Any) -> RunError:
    return RunError(
        job_id=row.id, user_id=row.user_id, state=row.state, error=row.error or "cancelled"
    )
