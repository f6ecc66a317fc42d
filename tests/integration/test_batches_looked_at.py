"""Batches are listed and looked at: counts, scores and cost, and users only where asked for."""

from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import dialect

from bespoke_schemas import uuid7
from bespoke_schemas.optimization import GetBatch, ListBatches, OptimizeTier, OptimizeUser
from bespoke_workers.optimization.batches import batch_statements
from bespoke_workers.optimization.batches.batch_records import BatchRecords
from examples.support_desk.standin_lm import StandinLM
from tests.integration.batches import batch
from tests.integration.databases import opened
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, Worker, working

RESULT = (
    '{"promoted": %s, "score_before": 0.5, "score_after": %s, "lm_calls": 10, '
    '"prompt_tokens": 7, "completion_tokens": 3, "cost_usd": 0.25, "seconds": 2.0}'
)


@in_loop
async def test_a_batch_is_told_by_counts_scores_and_cost(database_url: str) -> None:
    async with opened(database_url) as database:
        batch_id = await batch(
            database,
            [
                ("succeeded", RESULT % ("true", "0.75")),
                ("succeeded", RESULT % ("false", "0.25")),
                ("succeeded", RESULT % ("false", "null")),
                ("failed", None), ("cancelled", None), ("running", None), ("planned", None),
            ],
        )  # fmt: skip
        got = await BatchRecords(database).get(GetBatch(batch_id=batch_id))

        assert got.batch is not None
        assert (got.batch.users, got.batch.ended, got.batch.failed) == (7, 5, 2)
        assert (got.batch.state, got.batch.lm_calls, got.batch.cost_usd) == ("running", 30, 0.75)
        assert got.runs == {"cancelled": 1, "failed": 1, "planned": 1, "running": 1, "succeeded": 3}
        assert (got.promoted, got.unchanged) == (1, 2)
        assert (got.score_before, got.score_after) == (0.5, 0.5)
        assert (got.prompt_tokens, got.completion_tokens, got.seconds) == (21, 9, 6.0)
        assert "user-" not in got.model_dump_json()


@in_loop
async def test_errors_are_told_by_user_a_page_at_a_time(database_url: str) -> None:
    async with opened(database_url) as database:
        reading = BatchRecords(database)
        batch_id = await batch(database, [("failed", None)] * 3 + [("parked", None)])
        await batch(database, [("failed", None)])

        first = await reading.get(GetBatch(batch_id=batch_id, errors=3))
        second = await reading.get(GetBatch(batch_id=batch_id, errors=3, after=first.next))

        assert [one.user_id for one in first.errors] == ["user-0", "user-1", "user-2"]
        assert {one.error for one in first.errors} == {"the metric raised"}
        assert [(one.user_id, one.state) for one in second.errors] == [("user-3", "parked")]
        assert second.next is None


@in_loop
async def test_a_batch_of_nobody_and_no_batch_at_all_are_told_apart(database_url: str) -> None:
    async with opened(database_url) as database:
        reading = BatchRecords(database)
        empty = await reading.get(GetBatch(batch_id=await batch(database, [])))
        assert empty.batch is not None
        assert (empty.batch.users, empty.runs, empty.score_before) == (0, {}, None)
        assert (await reading.get(GetBatch(batch_id=uuid7(), errors=5))).batch is None


@in_loop
async def test_batches_are_listed_newest_first_by_program_and_state(database_url: str) -> None:
    async with opened(database_url) as database:
        reading = BatchRecords(database)
        old = await batch(database, [("failed", None)], state="done", age_s=300)
        other = await batch(database, [], program="other", age_s=200)
        new = await batch(database, [("planned", None), ("succeeded", None)], age_s=100)

        async def listed(**asked: Any) -> list[UUID]:
            return [one.batch_id for one in (await reading.list(ListBatches(**asked))).batches]

        first = await reading.list(ListBatches(limit=2))
        assert [(one.batch_id, one.users, one.ended, one.failed) for one in first.batches] == [
            (new, 2, 1, 0),
            (other, 0, 0, 0),
        ]
        assert await listed(limit=2, after=first.next) == [old]
        assert await listed(program=PROGRAM) == [new, old]
        assert await listed(state="done") == [old]
        assert (await reading.list(ListBatches(limit=3))).next is None


@in_loop
async def test_each_question_goes_along_an_index(database_url: str) -> None:
    async with opened(database_url) as database:
        batch_id = await batch(database, [("succeeded", None), ("failed", None)])
        postgresql = dialect()  # type: ignore[no-untyped-call]  # bare in SQLAlchemy
        for statement in (
            batch_statements.one(batch_id),
            batch_statements.errors(batch_id, batch_id, 10),
            batch_statements.page(ListBatches(limit=10)),
        ):
            asked = statement.compile(dialect=postgresql, compile_kwargs={"literal_binds": True})
            async with database.transaction() as session:
                connection = await session.connection()
                await connection.execute(text("SET LOCAL enable_seqscan = off"))
                plan = await connection.exec_driver_sql(f"EXPLAIN {asked}")
                assert "Seq Scan" not in "\n".join(plan.scalars())


@in_loop
async def test_what_a_batch_spent_is_kept_with_it_and_each_run_added_once(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            for user in ("ada", "bob"):
                await worker.teach(user, 10)
            payload = OptimizeTier(program=PROGRAM, tier="basic", max_concurrent=1)
            await worker.batches.plan(payload)
            while worker.outbox.runs:
                await worker.optimization.run(worker.outbox.runs.pop(0))
                await worker.batches.top_up(payload.id)
            reading = BatchRecords(worker.database)
            got = await reading.get(GetBatch(batch_id=payload.id))
            (listed,) = (await reading.list(ListBatches())).batches
            assert got.batch is not None
            assert got.batch.lm_calls == listed.lm_calls > 0
            assert listed.lm_calls == sum(await spent(worker))
            summary = worker.outbox.succeeded[payload.id].model_dump()
            assert summary["lm_calls"] == listed.lm_calls
            assert summary["score_before"] == got.score_before is not None


@in_loop
async def test_a_user_whose_run_is_open_is_left_out_of_a_batch(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            for user in ("ada", "bob"):
                await worker.teach(user, 10)
            alone = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(alone)
            await worker.batches.plan(OptimizeTier(program=PROGRAM, tier="basic"))
            in_batch = (
                "SELECT user_id FROM optimization_job WHERE batch_id IS NOT NULL ORDER BY user_id"
            )
            assert await worker.execute(in_batch) == ["bob"]
            await worker.optimization.run(alone.id)
            again = OptimizeTier(program=PROGRAM, tier="basic", min_new_examples=0)
            await worker.batches.plan(again)
            assert await worker.execute(in_batch) == ["ada", "bob"]


async def spent(worker: Worker) -> list[int]:
    return list(await worker.execute("SELECT lm_calls FROM optimization_job"))
