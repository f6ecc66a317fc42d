"""Batches as they stand in the database, for tests that look at them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text

from bespoke_schemas import uuid7
from bespoke_workers.database.engine import Database
from tests.integration.optimizing import PROGRAM

TAKEN = """
UPDATE optimization_job SET lm_calls = (result ->> 'lm_calls')::bigint,
    prompt_tokens = (result ->> 'prompt_tokens')::bigint,
    completion_tokens = (result ->> 'completion_tokens')::bigint,
    cost_usd = (result ->> 'cost_usd')::float8, seconds = (result ->> 'seconds')::float8
WHERE result IS NOT NULL
"""


async def batch(
    database: Database, runs: Sequence[tuple[str, str | None]], *, program: str = PROGRAM,
    state: str = "running", age_s: int = 0,
) -> UUID:  # fmt: skip
    """Write a batch, with runs in these states and with these results."""
    batch_id = uuid7()
    ids = sorted(uuid7() for _ in runs)  # those of one millisecond are in no order
    async with database.autocommit() as connection:
        await connection.execute(
            text("""INSERT INTO batch (id, key, program, tier, state, max_concurrent,
                        min_new_examples, planned_through, created_at)
                    VALUES (:id, :key, :program, 'basic', :state, 4, 1, '',
                        now() - :age_s * interval '1 second')"""),
            {"id": batch_id, "key": str(batch_id), "program": program, "state": state,
             "age_s": age_s},
        )  # fmt: skip
        for number, (run_state, result) in enumerate(runs):
            await connection.execute(
                text("""INSERT INTO optimization_job (id, user_id, program, batch_id, state, error,
                            result, finished_at)
                        VALUES (:id, :user_id, :program, :batch_id, :state,
                            CASE :state WHEN 'failed' THEN 'the metric raised' END,
                            CAST(:result AS jsonb),
                            CASE WHEN :state IN ('planned', 'queued', 'running') THEN NULL
                                ELSE now() END)""").bindparams(state=run_state),
                {"id": ids[number], "user_id": f"user-{number}", "program": program,
                 "batch_id": batch_id, "state": run_state, "result": result},
            )  # fmt: skip
        await connection.execute(text(TAKEN))
    return batch_id
