"""A worker that is killed in the middle: another one goes on and pays for nothing twice."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.jobs import Cancel
from bespoke_schemas.optimization import Optimized, OptimizeUser
from bespoke_workers.errors import Parked
from bespoke_workers.optimization.language_model import lm_cache_folders
from bespoke_workers.optimization.stopping import LostLease
from examples.support_desk.standin_lm import StandinLM
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import (
    AUTO,
    DESKS,
    EXPLAINED,
    GEPA,
    KNN,
    PROGRAM,
    RULES,
    SEARCH,
    Worker,
    calls_made,
    until,
    worker_process,
    working,
)
from tests.nodes.waiting import SECONDS

LEASE_S = 3.0  # longer than a busy machine stalls
ANSWERED = 60  # calls of a run before its worker is killed


async def taken_up_again(worker: Worker) -> None:
    """Let the dead worker's lease run out, and reap until the row is sent again."""
    sent = len(worker.outbox.runs)
    await worker.execute("UPDATE optimization_job SET lease_until = now() WHERE state = 'running'")

    async def again() -> bool:
        await worker.optimization.reap()
        return len(worker.outbox.runs) > sent

    await until(again)


@pytest.mark.parametrize(
    ("count", "killed_at", "asked"),
    [
        (20, 8, {}),
        (80, 34, {}),
        (210, 350, {}),
        (80, 90, SEARCH),
        (40, 20, KNN),
        (40, 30, RULES),
        (120, 130, AUTO),
        (60, 80, {**GEPA, "program": EXPLAINED}),
    ],
)
@in_loop
async def test_a_killed_run_is_taken_up_again_and_pays_for_no_call_twice(
    database_url: str, tmp_path: Path, count: int, killed_at: int, asked: dict[str, Any]
) -> None:
    async with working(
        database_url, tmp_path, lm="http://set-below.invalid", programs=DESKS
    ) as teacher:
        await teacher.teach("ada", count, asked.get("program", PROGRAM))
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=DESKS) as worker:
            undisturbed = await worker.optimize("ada", **asked)
            assert undisturbed.lm_calls == lm.calls
            await worker.execute("DELETE FROM active_program")
    holding = Holding(killed_at)
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=DESKS) as worker:
            payload = OptimizeUser(user_id="ada", **{"program": PROGRAM, **asked})
            await worker.optimization.accept(payload)
            with worker_process(worker, lm, payload.id) as process:
                await holding.holds()
                process.kill()
                await asyncio.to_thread(process.wait)
            holding.let_go()
            assert lm_cache_folders.left_over(tmp_path) == [str(payload.id)]
            assert (await worker.row(payload.id)).state == "running"
            assert await worker.optimization.run(payload.id) is None
            sent = list(worker.outbox.runs)
            await worker.optimization.reap()
            assert worker.outbox.runs == sent
            await taken_up_again(worker)
            resumed = await worker.optimization.run(payload.id)
            assert resumed is not None
            assert lm.calls <= undisturbed.lm_calls + 4  # those under way when it was killed
            assert lm.calls <= max(1.02 * undisturbed.lm_calls, undisturbed.lm_calls + 4)
            assert resumed.lm_calls == undisturbed.lm_calls
            assert resumed.prompt_tokens == undisturbed.prompt_tokens
            assert resumed.score_after == undisturbed.score_after
            assert resumed.candidates == undisturbed.candidates
            first, second = await worker.execute("SELECT state FROM program_version")
            assert first == second
            assert (await worker.row(payload.id)).attempts == 2
            assert lm_cache_folders.left_over(tmp_path) == []


async def searched(database_url: str, tmp_path: Path) -> Optimized:
    """Teach Ada's program and search, undisturbed; what it came to is not in use after that."""
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 80)
            optimized = await worker.optimize("ada", **SEARCH)
            await worker.execute("DELETE FROM active_program")
            return optimized


@in_loop
async def test_another_machine_takes_a_run_up_with_the_answers_that_were_told(
    database_url: str, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    undisturbed = await searched(database_url, tmp_path)
    holding = Holding(ANSWERED)
    with StandinLM(answer=holding) as lm:
        async with (
            working(database_url, here, lm=lm.url) as worker,
            working(database_url, there, lm=lm.url) as elsewhere,
        ):
            payload = OptimizeUser(user_id="ada", **{"program": PROGRAM, **SEARCH})
            await worker.optimization.accept(payload)

            async def told() -> int:
                parts = await worker.execute(
                    "SELECT answers FROM lm_answers WHERE job_id = :id", id=payload.id
                )
                return sum(len(part.splitlines()) for part in parts)

            async def all_told() -> bool:
                return await told() >= ANSWERED

            with worker_process(worker, lm, payload.id) as process:
                await holding.holds()
                await until(all_told)
                process.kill()
                await asyncio.to_thread(process.wait)
            holding.let_go()
            await calls_made(lm, ANSWERED + holding.held)  # those of the dead count as paid, too
            kept, paid = await told(), lm.calls
            await taken_up_again(elsewhere)
            resumed = await elsewhere.optimization.run(payload.id)
            assert resumed is not None
            assert lm.calls == paid + undisturbed.lm_calls - kept
            assert resumed.score_after == undisturbed.score_after
            first, second = await worker.execute("SELECT state FROM program_version")
            assert first == second
            await elsewhere.optimization.reap()
            assert await told() == 0


@in_loop
async def test_a_worker_that_is_shut_down_hands_its_run_to_another_at_once(
    database_url: str, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    undisturbed = await searched(database_url, tmp_path)
    holding = Holding(90)
    with StandinLM(answer=holding) as lm:
        async with (
            working(database_url, here, lm=lm.url, max_deliveries=1) as worker,
            working(database_url, there, lm=lm.url, max_deliveries=1) as elsewhere,
        ):
            payload = OptimizeUser(user_id="ada", **{"program": PROGRAM, **SEARCH})
            await worker.optimization.accept(payload)
            running = asyncio.create_task(worker.optimization.run(payload.id))
            await holding.holds()
            running.cancel()
            holding.let_go()
            with pytest.raises(asyncio.CancelledError):
                await running
            paid, row = lm.calls, await worker.row(payload.id)
            assert (row.state, row.attempts, row.lm_calls) == ("queued", 0, paid)
            assert worker.outbox.runs == [payload.id] * 2

            resumed = await elsewhere.optimization.run(payload.id)

            assert resumed is not None
            assert paid < lm.calls == resumed.lm_calls == undisturbed.lm_calls
            assert resumed.score_after == undisturbed.score_after
            first, second = await worker.execute("SELECT state FROM program_version")
            assert first == second
            assert (await worker.row(payload.id)).attempts == 1


@in_loop
async def test_a_run_that_kills_each_of_its_workers_is_parked(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, max_deliveries=3) as worker:
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            for _ in range(3):
                assert await worker.optimization._leases.claim(payload.id) is not None
                await worker.execute("UPDATE optimization_job SET lease_until = now()")
            assert await worker.optimization.run(payload.id) is None
            await worker.optimization.reap()
            assert (await worker.row(payload.id)).state == "parked"
            with pytest.raises(Parked, match="parked: 3 workers died"):
                await worker.optimization.run(payload.id)
            await worker.execute(
                "UPDATE optimization_job SET finished_at = finished_at - interval '6 s'"
            )
            await worker.optimization.reap()
            assert isinstance(worker.outbox.failed[payload.id], Parked)


@in_loop
async def test_a_run_that_lost_its_lease_writes_nothing(database_url: str, tmp_path: Path) -> None:
    with StandinLM(latency=timedelta(milliseconds=50)) as lm:
        async with working(database_url, tmp_path, lm=lm.url, lease_s=3) as worker:
            await worker.teach("ada", 80)
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            running = asyncio.create_task(worker.optimization.run(payload.id))
            await calls_made(lm, 1)
            await worker.execute("UPDATE optimization_job SET lease_owner = 'another'")
            assert await asyncio.wait_for(running, SECONDS) is None
            row = await worker.row(payload.id)
            assert (row.state, row.lease_owner) == ("running", "another")
            assert await worker.execute("SELECT count(*) FROM program_version") == [0]
            assert worker.outbox.failed == {}


@in_loop
async def test_a_long_run_keeps_its_lease(database_url: str, tmp_path: Path) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url, lease_s=LEASE_S) as worker:
            await worker.teach("ada", 20)
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            running = asyncio.create_task(worker.optimization.run(payload.id))
            await holding.holds()
            first = (await worker.row(payload.id)).lease_until
            assert first is not None

            async def first_has_run_out() -> bool:
                await worker.optimization.reap()
                (now,) = await worker.execute("SELECT now()")
                return bool(now > first)

            await until(first_has_run_out)
            await worker.optimization.reap()
            holding.let_go()
            assert await running is not None
            assert worker.outbox.runs == [payload.id]
            assert (await worker.row(payload.id)).attempts == 1


@in_loop
async def test_a_run_that_is_to_be_cancelled_is_handed_to_nobody(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            leases = worker.optimization._leases
            claim = await leases.claim(payload.id)
            assert claim is not None
            await worker.cancellation.cancel(Cancel(job_id=payload.id))

            with pytest.raises(LostLease):
                await leases.hand_over(claim, finetuning=False)

            assert (await worker.row(payload.id)).state == "running"
            await worker.execute("UPDATE optimization_job SET lease_until = now()")
            await worker.optimization.reap()
            assert (await worker.row(payload.id)).state == "cancelled"


@in_loop
async def test_a_run_that_was_handed_over_is_cancelled_as_one_that_ran(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            claim = await worker.optimization._leases.claim(payload.id)
            assert claim is not None
            await worker.optimization._leases.hand_over(claim, finetuning=False)

            await worker.cancellation.cancel(Cancel(job_id=payload.id))

            row = await worker.row(payload.id)
            assert (row.state, row.error) == ("cancelled", "cancelled while it ran")
