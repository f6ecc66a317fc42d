"""Cancelled, over budget, out of time: a run stops within seconds and calls no LM afterwards."""

import asyncio
import json
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas import programs
from bespoke_schemas.examples import AddMany
from bespoke_schemas.jobs import Cancel
from bespoke_schemas.optimization import OptimizeTier, OptimizeUser
from bespoke_workers.errors import Cancelled, Misconfigured, Permanent
from bespoke_workers.optimization import supervision
from bespoke_workers.optimization.stopping import OutOfBudget
from bespoke_workers.programs.checkpoints import Checkpoints
from examples.support_desk import answers, prompts
from examples.support_desk.standin_lm import StandinLM
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import (
    AUTO,
    GEPA,
    KNN,
    PROGRAM,
    RULES,
    SEARCH,
    calls_made,
    lessons,
    marker,
    until,
    working,
)
from tests.nodes.waiting import SECONDS

ASKED: list[tuple[dict[str, Any], int]] = [
    ({"tier": "basic"}, 3),
    ({"tier": "advanced"}, 40),
    ({"tier": "premium"}, 150),
    (SEARCH, 90),
    (GEPA, 90),
    (KNN, 40),
    (RULES, 60),
]

SLOW_SECONDS = 0.8  # of an answer that is under way when a run is cancelled
SOON = 4.0  # seconds: two, and as much again for a machine that does other things
TICK = 0.05


async def took(running: "asyncio.Task[Any]") -> float:
    """Wait for a task; return how many seconds it took while this loop turned.

    What holds up the whole process, as a busy machine does, counts for a tick at most.
    """
    ticks = 0
    while not running.done():
        await asyncio.wait({running}, timeout=TICK)
        ticks += 1
    return ticks * TICK


class Slowing:
    """Answers Bob at once, and anybody else so too, until so many calls: then each takes long."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self._lock = threading.Lock()
        self.asked = 0  # by others than Bob
        self.slow = False

    def __call__(self, prompt: prompts.Prompt) -> str:
        if marker("bob") not in repr(prompt):
            with self._lock:
                self.asked += 1
                self.slow = self.asked > self._left
            if self.slow:
                time.sleep(SLOW_SECONDS)  # a model that takes so long
        return answers.answer(prompt)

    async def is_slow(self) -> bool:
        return self.slow


@pytest.mark.parametrize(("asked", "calls"), [*ASKED, (AUTO, 130)])
@in_loop
async def test_a_cancelled_run_stops_within_two_seconds_and_goes_on_in_no_other_job(
    database_url: str, tmp_path: Path, asked: dict[str, Any], calls: int
) -> None:
    slowing = Slowing(calls)
    with StandinLM(answer=slowing) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach_marked("ada", 120)
            await worker.teach_marked("bob", 20)
            payload = OptimizeUser(user_id="ada", program=PROGRAM, **asked)
            await worker.optimization.accept(payload)
            running = asyncio.create_task(worker.optimization.run(payload.id))
            await until(slowing.is_slow)
            cancelled = await worker.cancellation.cancel(Cancel(job_id=payload.id))
            assert cancelled.cancelled
            assert cancelled.reason == "it runs, and stops within seconds"
            assert await took(running) < SOON
            with pytest.raises(Cancelled, match="cancelled while it ran"):
                await running
            made = lm.calls
            assert made == slowing.asked
            row = await worker.row(payload.id)
            assert row.state == "cancelled"
            assert (row.error or "").startswith("cancelled while it ran")
            assert row.lm_calls == made
            assert isinstance(worker.outbox.failed[payload.id], Cancelled)
            next_job = await worker.optimize("bob", tier="basic")
            assert next_job.promoted
            assert slowing.asked == made
            assert lm.calls == made + next_job.lm_calls
            assert await worker.in_use("ada") is None


@in_loop
async def test_a_cancelled_run_is_told_at_once_though_a_call_is_still_under_way(
    database_url: str, tmp_path: Path
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            running = asyncio.create_task(worker.optimization.run(payload.id))
            await holding.holds(4)
            await worker.cancellation.cancel(Cancel(job_id=payload.id))

            async def told() -> None:
                while payload.id not in worker.outbox.failed:
                    await asyncio.sleep(0.02)

            assert await took(asyncio.create_task(told())) < SOON
            assert not running.done()
            holding.let_go()
            with pytest.raises(Cancelled):
                await running
            assert lm.calls == 4


@pytest.mark.parametrize("asked", [asked for asked, _ in ASKED])
@in_loop
async def test_no_optimizer_pays_for_more_calls_than_it_may(
    database_url: str, tmp_path: Path, asked: dict[str, Any]
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, optimization_lm_calls=45) as worker:
            await worker.teach("ada", 120)
            with pytest.raises(OutOfBudget, match="may pay for 45 LM calls") as told:
                await worker.optimize("ada", **asked)
            assert "BESPOKE_OPTIMIZATION_LM_CALLS" in str(told.value)
            assert lm.calls == 45
            assert await worker.states() == ["failed"]
            assert await worker.execute("SELECT lm_calls FROM optimization_job") == [45]


@in_loop
async def test_auto_pays_for_no_more_calls_than_the_run_may(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, optimization_lm_calls=150) as worker:
            await worker.teach("ada", 120)
            more = {"num_candidates": 3, "num_trials": 1, "minibatch": False}  # than expected
            ladder = ["LabeledFewShot", {"optimizer": "MIPROv2", "options": more}]
            optimized = await worker.optimize("ada", optimizer="auto", options={"ladder": ladder})
            assert "the budget ended within MIPROv2" in optimized.reason
            assert optimized.optimizer == "LabeledFewShot"
            assert lm.calls == optimized.lm_calls == 150
            assert await worker.execute("SELECT lm_calls FROM optimization_job") == [150]


@pytest.mark.parametrize(("asked", "most"), [({"tier": "premium"}, 90), (SEARCH, 90), (GEPA, 50)])
@in_loop
async def test_a_run_that_ends_at_its_budget_keeps_the_best_so_far(
    database_url: str, tmp_path: Path, asked: dict[str, Any], most: int
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, max_examples=200) as worker:
            await worker.teach("ada", 60)
            with pytest.raises(OutOfBudget, match="raise max_lm_calls") as told:
                await worker.optimize("ada", max_lm_calls=most, **asked)
            (row,) = await worker.execute("SELECT error FROM optimization_job")
            assert row == str(told.value)
            name = str(told.value).split("checkpoint ")[1].strip("'")
            assert lm.calls == most
            restored = await Checkpoints(worker.database, worker.library).restore(
                programs.RestoreCheckpoint(program=PROGRAM, user_id="ada", name=name, activate=True)
            )
            assert restored.active
            assert restored.version is not None
            assert restored.version.score is not None


@pytest.mark.parametrize("limit", [{"max_tokens": 12_000}, {"max_usd": 0.012}])
@in_loop
async def test_a_run_exceeds_its_tokens_and_dollars_by_the_calls_under_way_at_most(
    database_url: str, tmp_path: Path, limit: dict[str, Any]
) -> None:
    prices = json.dumps({"openai/standin": {"input": 1.0, "output": 1.0}})
    with StandinLM(latency=timedelta(milliseconds=5)) as lm:
        async with working(database_url, tmp_path, lm=lm.url, prices=prices) as worker:
            await worker.teach("ada", 120)
            with pytest.raises(OutOfBudget, match=f"raise {next(iter(limit))}"):
                await worker.optimize("ada", **SEARCH, **limit)
            (row,) = await worker.execute("SELECT row_to_json(j)::text FROM optimization_job j")
            taken = json.loads(row)
            tokens = taken["prompt_tokens"] + taken["completion_tokens"]
            assert taken["cost_usd"] == pytest.approx(tokens / 1e6)
            assert taken["lm_calls"] == lm.calls
            assert taken["unpriced_calls"] == 0
            most = 4 * 1000  # tokens that four calls of this program take at most
            assert 12_000 - most < tokens < 12_000 + most


@in_loop
async def test_dollars_are_not_limited_where_the_price_is_not_known(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path, lm="http://unused.invalid") as worker:
        payload = OptimizeUser(user_id="ada", program=PROGRAM, max_usd=1)
        with pytest.raises(Misconfigured, match=r"max_usd .* BESPOKE_PRICES"):
            await worker.optimization.accept(payload)
        batch = OptimizeTier(program=PROGRAM, tier="basic", run_max_usd=1)
        with pytest.raises(Misconfigured, match=r"run_max_usd .* BESPOKE_PRICES"):
            await worker.batches.plan(batch)


@in_loop
async def test_a_run_ends_at_its_deadline(database_url: str, tmp_path: Path) -> None:
    with StandinLM(latency=timedelta(milliseconds=50)) as lm:
        async with working(database_url, tmp_path, lm=lm.url, optimization_seconds=1.0) as worker:
            await worker.teach("ada", 200)
            running = asyncio.create_task(worker.optimize("ada"))
            assert await took(running) < 1 + SOON
            with pytest.raises(Permanent, match="took longer than 1 seconds"):
                await running
            made = lm.calls
            await worker.optimize("bob", tier="basic")
            assert lm.calls == made


@in_loop
async def test_a_call_that_outlasts_its_time_out_holds_up_no_other_job(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "PATIENCE_SECONDS", 0.5)
    answered, asked = threading.Event(), threading.Semaphore(0)

    def hang(prompt: prompts.Prompt) -> str:
        if "hangs" in repr(prompt):
            asked.release()
            answered.wait(SECONDS)
        return answers.answer(prompt)

    async def was_asked() -> bool:
        return asked.acquire(blocking=False)

    with StandinLM(answer=hang) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            hanging = tuple({**one, "text": f"{one['text']} hangs"} for one in lessons(20))
            await worker.examples.add_many(
                AddMany(user_id="ada", program=PROGRAM, examples=hanging)
            )
            await worker.teach("bob", 20)
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            running = asyncio.create_task(worker.optimization.run(payload.id))
            await until(was_asked)
            await worker.cancellation.cancel(Cancel(job_id=payload.id))
            with pytest.raises(Cancelled, match="cancelled while it ran"):
                await asyncio.wait_for(running, SECONDS / 2)
            paid = (await worker.optimize("bob")).lm_calls
            assert paid == lm.calls  # of ada's calls none was answered yet
            answered.set()
            await calls_made(lm, paid + 1)
            await worker.optimize("bob", tier="basic")
            assert lm.calls <= 2 * paid + 4
            assert await worker.in_use("ada") is None
