"""An optimization is accepted once, run once, and answered until the answer has arrived."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas import Result
from bespoke_schemas.ids import uuid7
from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers.errors import Misconfigured, Refused
from examples.support_desk.standin_lm import StandinLM
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, RecordingOutbox, working

SENT = "UPDATE optimization_job SET sent_at = now()"
PATIENCE = "least(interval '5 s' * power(2, least(sends, 8)), interval '15 min')"


class Away(RecordingOutbox):
    """An outbox whose broker and result backend cannot be reached."""

    def run_optimization(
        self, job_id: UUID, *, finetuning: bool = False, answered: bool = True
    ) -> None:
        raise ConnectionError

    def succeed(self, job_id: UUID, task: str, result: Result) -> None:
        raise ConnectionError

    def progress(self, job_id: UUID, task: str, progress: Any) -> None:
        raise ConnectionError


def ada(**options: Any) -> OptimizeUser:
    return OptimizeUser(user_id="ada", program=PROGRAM, **options)


@in_loop
async def test_a_job_delivered_again_is_accepted_once_and_then_answered(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            payload = ada()
            assert await worker.optimization.accept(payload) is None
            assert await worker.optimization.accept(payload) is None
            assert worker.outbox.runs == [payload.id]
            optimized = await worker.optimization.run(payload.id)
            assert optimized is not None
            paid = lm.calls
            assert await worker.optimization.accept(payload) == optimized
            assert await worker.optimization.run(payload.id) == optimized
            assert lm.calls == paid
            assert await worker.execute("SELECT count(*) FROM program_version") == [1]
            assert await worker.execute("SELECT state FROM job WHERE task LIKE '%optimize%'") == [
                "done"
            ]


@in_loop
async def test_of_two_workers_with_the_same_message_one_runs(
    database_url: str, tmp_path: Path
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with (
            working(database_url, tmp_path / "one", lm=lm.url) as one,
            working(database_url, tmp_path / "other", lm=lm.url) as other,
        ):
            await one.teach("ada", 12)
            payload = ada()
            await one.optimization.accept(payload)
            runs = [
                asyncio.create_task(worker.optimization.run(payload.id)) for worker in (one, other)
            ]
            (first,), _ = await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
            assert first.result() is None
            holding.let_go()
            (optimized,) = {run: await run for run in runs if run is not first}.values()
            assert optimized is not None
            assert optimized.lm_calls == lm.calls


@in_loop
async def test_a_run_of_an_unknown_row_is_nobodys(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        assert await worker.optimization.run(uuid7()) is None


@in_loop
async def test_what_cannot_be_run_is_refused_with_nothing_written(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        unheard = OptimizeUser(user_id="ada", program="unheard")
        with pytest.raises(Refused, match="unknown program 'unheard'"):
            await worker.optimization.accept(unheard)
        with pytest.raises(Misconfigured, match="BESPOKE_LM is not set") as refused:
            await worker.optimization.accept(ada())
        assert "\n" not in str(refused.value)
        assert await worker.states() == []
        assert await worker.execute("SELECT count(*) FROM job") == [0]


@in_loop
async def test_an_id_is_never_reused(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = ada()
            await worker.optimization.accept(payload)
            bobs = OptimizeUser(id=payload.id, user_id="bob", program=PROGRAM)
            with pytest.raises(Refused, match="belongs to another job"):
                await worker.optimization.accept(bobs)


@in_loop
async def test_a_lost_message_is_sent_again_less_and_less_often(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            worker.optimization._dispatch._outbox = Away()
            payload = ada()
            await worker.optimization.accept(payload)
            worker.optimization._dispatch._outbox = worker.outbox
            await worker.optimization.reap()
            assert worker.outbox.runs == []
            for sendings in range(1, 12):
                # Half of the patience so far leaves a slow machine the other half.
                await worker.execute(
                    f"UPDATE optimization_job SET sent_at = now() - {PATIENCE} / 2"
                )
                await worker.optimization.reap()
                assert len(worker.outbox.runs) == sendings - 1
                await worker.execute(f"UPDATE optimization_job SET sent_at = now() - {PATIENCE}")
                await worker.optimization.reap()
                assert worker.outbox.runs == [payload.id] * sendings


@in_loop
async def test_an_answer_that_was_lost_is_given_by_the_reaper(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            worker.optimization._answers._outbox = Away()
            optimized = await worker.optimize("ada")
            (job_id,) = await worker.execute("SELECT id FROM optimization_job WHERE NOT answered")
            worker.optimization._answers._outbox = worker.outbox
            await worker.execute("UPDATE optimization_job SET finished_at = now()")
            await worker.optimization.reap()
            assert worker.outbox.succeeded == {}
            await worker.execute(
                "UPDATE optimization_job SET finished_at = finished_at - interval '6 s'"
            )
            await worker.optimization.reap()
            assert worker.outbox.succeeded == {job_id: optimized}
            worker.outbox.succeeded.clear()
            await worker.optimization.reap()
            assert worker.outbox.succeeded == {}
