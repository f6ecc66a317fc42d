"""Of one user's program there is one run at a time; what comes meanwhile waits for its turn."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.examples import Add
from bespoke_schemas.jobs import Cancel
from bespoke_schemas.optimization import OptimizeTier, OptimizeUser
from bespoke_workers.errors import Cancelled
from bespoke_workers.optimization.one_at_a_time import NOTHING_NEW
from examples.support_desk.standin_lm import StandinLM
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, Worker, working
from tests.nodes.waiting import SECONDS

RUNNING = "SELECT count(*) FROM optimization_job WHERE state = 'running'"


async def accepted(worker: Worker, user_id: str = "ada", **options: Any) -> OptimizeUser:
    payload = OptimizeUser(user_id=user_id, program=PROGRAM, **options)
    await worker.optimization.accept(payload)
    return payload


@in_loop
async def test_a_run_waits_for_the_other_of_its_user_and_is_sent_at_its_end(
    database_url: str, tmp_path: Path
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            first = await accepted(worker, tier="basic")
            second = await accepted(worker, tier="basic")
            running = asyncio.create_task(worker.optimization.run(first.id))
            await holding.holds()
            assert await worker.optimization.run(second.id) is None
            await worker.execute("UPDATE optimization_job SET sent_at = sent_at - interval '1 h'")
            await worker.optimization.reap()
            assert worker.outbox.runs == [first.id, second.id]  # no message that finds nothing
            holding.let_go()
            optimized = await running
            assert optimized is not None
            assert worker.outbox.runs == [first.id, second.id, second.id]
            paid = lm.calls
            repeated = await worker.optimization.run(second.id)
            assert repeated is not None
            assert (repeated.reason, repeated.lm_calls, repeated.promoted) == (
                NOTHING_NEW, 0, False,
            )  # fmt: skip
            assert lm.calls == paid
            assert await worker.states() == ["succeeded", "succeeded"]


@pytest.mark.parametrize("new", ["an example", "another optimizer"])
@in_loop
async def test_a_run_that_waited_is_run_where_there_is_something_new(
    database_url: str, tmp_path: Path, new: str
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 20)
            asked = {"tier": "basic"} if new == "an example" else {"optimizer": "LabeledFewShot"}
            first, second = await accepted(worker, tier="basic"), await accepted(worker, **asked)
            running = asyncio.create_task(worker.optimization.run(first.id))
            await holding.holds()
            if new == "an example":
                example = {"text": "new", "label": "billing"}
                await worker.examples.add(Add(user_id="ada", program=PROGRAM, example=example))
            holding.let_go()
            await running
            again = await worker.optimization.run(second.id)
            assert again is not None
            assert (again.optimizer, again.held_out > 0) == ("LabeledFewShot", True)
            assert "overtaken" not in again.reason


@in_loop
async def test_an_optimization_asked_for_during_the_night_s_run_joins_the_queue_behind_it(
    database_url: str, tmp_path: Path
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            for user_id in ("ada", "bob"):
                await worker.teach(user_id, 20)
            batch = OptimizeTier(program=PROGRAM, tier="basic", max_concurrent=2)
            await worker.batches.plan(batch)
            adas, bobs = worker.outbox.runs
            asked = await accepted(worker)
            night = asyncio.gather(worker.optimization.run(adas), worker.optimization.run(bobs))
            async with asyncio.timeout(SECONDS):
                while await worker.execute(RUNNING) != [2]:
                    await asyncio.sleep(0.01)
            assert await worker.optimization.run(asked.id) is None
            assert await worker.execute(RUNNING) == [2]
            holding.let_go()
            await night
            joined = await worker.optimization.run(asked.id)
            assert joined is not None
            assert joined.reason == NOTHING_NEW
            assert await worker.states() == ["succeeded"] * 3


@in_loop
async def test_of_runs_claimed_at_the_same_moment_one_begins(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            leases = worker.optimization._leases
            for _ in range(5):
                waiting = [await accepted(worker) for _ in range(4)]
                claims = await asyncio.gather(*(leases.claim(one.id) for one in waiting))
                assert sum(claim is not None for claim in claims) == 1
                await worker.execute("DELETE FROM optimization_job")


@in_loop
async def test_a_run_whose_predecessor_was_cancelled_begins(
    database_url: str, tmp_path: Path
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 20)
            first, second = await accepted(worker), await accepted(worker)
            running = asyncio.create_task(worker.optimization.run(first.id))
            await holding.holds()
            await worker.cancellation.cancel(Cancel(job_id=first.id))
            holding.let_go()
            with pytest.raises(Cancelled):
                await running
            optimized = await worker.optimization.run(second.id)
            assert optimized is not None
            assert optimized.optimizer == "LabeledFewShot"
