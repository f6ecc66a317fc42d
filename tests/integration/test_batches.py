"""A tier's batch: who is in it, so many at a time, each failure its user's own, one a night."""

import asyncio
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas.examples import AddMany
from bespoke_schemas.optimization import BatchSummary, OptimizeTier
from bespoke_workers.errors import Misconfigured, Refused, Transient
from bespoke_workers.optimization.batches import batches, planning
from examples.support_desk.standin_lm import StandinLM
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import MODULE, PROGRAM, Worker, until, working

NIGHT = date(2026, 3, 1)


class Killed(BaseException):
    """Ends a planner as a kill would: nothing of its transaction stays."""


def tonight(**options: Any) -> OptimizeTier:
    return OptimizeTier(**{"program": PROGRAM, "tier": "basic", "night": NIGHT, **options})


async def class_of(worker: Worker, users: int, count: int = 10) -> None:
    """Give many users ``count`` examples each."""
    for number in range(users):
        await worker.teach(f"user-{number:03}", count)


async def work_off(worker: Worker) -> int:
    """Run everything that was sent, as one worker would; return the most in flight at once."""
    most = 0
    while worker.outbox.runs:
        states = await worker.states()
        most = max(most, sum(state in {"queued", "running"} for state in states))
        job_id = worker.outbox.runs.pop(0)
        try:
            await worker.optimization.run(job_id)
        except Refused:
            continue
    return most


async def planned(worker: Worker) -> list[str]:
    return list(await worker.execute("SELECT user_id FROM optimization_job ORDER BY user_id"))


@in_loop
async def test_every_eligible_user_is_optimized_so_many_at_a_time(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await class_of(worker, 7)
            await worker.teach("too-few", 9)
            await worker.teach("too-many", 50)
            payload = tonight(max_concurrent=3)
            assert await worker.batches.plan(payload) is None
            assert await worker.states() == ["queued"] * 3 + ["planned"] * 4
            assert await work_off(worker) == 3
            summary = worker.outbox.succeeded[payload.id]
            assert isinstance(summary, BatchSummary)
            assert summary.eligible == 7
            assert summary.promoted + summary.unchanged == 7
            assert (summary.failed, summary.errors) == (0, {})
            assert summary.promoted == len(await worker.execute("SELECT id FROM active_program"))
            told = [progress for job, progress in worker.outbox.told if job == payload.id]
            assert (told[0].done, told[0].total) == (0, None)
            assert [progress.done for progress in told] == sorted(each.done for each in told)


@in_loop
async def test_a_batch_is_answered_and_its_runs_are_only_recorded(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await class_of(worker, 2)
            payload = tonight(max_concurrent=1)
            await worker.batches.plan(payload)
            runs = set(await worker.execute("SELECT id FROM optimization_job"))
            (lost,) = worker.outbox.runs
            worker.outbox.runs.clear()
            await worker.execute("UPDATE optimization_job SET sent_at = sent_at - interval '1 h'")
            await worker.optimization.reap()
            assert worker.outbox.runs == [lost]
            await work_off(worker)
            await worker.execute(
                "UPDATE optimization_job SET finished_at = finished_at - interval '6 s'"
            )
            await worker.optimization.reap()
            assert worker.outbox.unanswered == runs
            assert worker.outbox.succeeded.keys() == {payload.id}
            assert worker.outbox.failed == {}
            assert {job_id for job_id, _ in worker.outbox.told} == {payload.id}


@in_loop
async def test_only_those_with_something_new_to_learn_from_are_in_it(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await class_of(worker, 3)
            await worker.optimize("user-000")
            await worker.batches.plan(tonight())
            assert (await planned(worker)).count("user-000") == 1
            assert await worker.execute(
                "SELECT user_id FROM optimization_job WHERE batch_id IS NOT NULL ORDER BY user_id"
            ) == ["user-001", "user-002"]
            await work_off(worker)
            await worker.teach("user-002", 12)
            later = tonight(night=date(2026, 3, 2))
            await worker.batches.plan(later)
            await work_off(worker)
            summary = worker.outbox.succeeded[later.id]
            assert isinstance(summary, BatchSummary)
            assert summary.eligible == 1
            everybody = tonight(night=None, min_new_examples=0)
            await worker.batches.plan(everybody)
            assert (await worker.states()).count("queued") == 3


@in_loop
async def test_a_tier_given_by_hand_counts_more_than_the_number_of_examples(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await class_of(worker, 2)
            await worker.execute("UPDATE learner SET tier = 'advanced' WHERE user_id = 'user-001'")
            await worker.batches.plan(tonight())
            assert await planned(worker) == ["user-000"]
            await worker.batches.plan(tonight(tier="advanced"))
            await work_off(worker)
            assert await worker.execute(
                "SELECT optimizer FROM program_version WHERE user_id = 'user-001'"
            ) == ["BootstrapFewShot"]


@pytest.mark.parametrize("tier", ["none", "basic"])
@in_loop
async def test_a_batch_of_nobody_is_answered_at_once(
    database_url: str, tmp_path: Path, tier: Any
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 5)
            payload = tonight(tier=tier)
            summary = await worker.batches.plan(payload)
            assert summary is not None
            assert (summary.batch_id, summary.eligible) == (payload.id, 0)
            assert await worker.batches.plan(payload) == summary


@in_loop
async def test_one_user_s_failure_is_that_user_s_alone(database_url: str, tmp_path: Path) -> None:
    program = "failing-on-label"
    with StandinLM() as lm:
        async with working(
            database_url,
            tmp_path,
            lm=lm.url,
            programs=(MODULE, "tests.integration.stubborn_programs"),
        ) as worker:
            for user in ("ada", "bob", "cay"):
                await worker.teach(user, 10, program)
            await worker.execute("DELETE FROM example WHERE user_id = 'bob'")
            poisoned = tuple({"text": f"m {number}", "label": "poison"} for number in range(10))
            await worker.examples.add_many(
                AddMany(user_id="bob", program=program, examples=poisoned)
            )
            await worker.execute("UPDATE learner SET example_count = 10 WHERE user_id = 'bob'")
            payload = tonight(program=program, max_concurrent=1)
            await worker.batches.plan(payload)
            await work_off(worker)
            summary = worker.outbox.succeeded[payload.id]
            assert isinstance(summary, BatchSummary)
            assert worker.outbox.failed == {}  # who waits, waits for the batch
            assert (summary.eligible, summary.failed) == (3, 1)
            assert summary.errors == {
                "bob": f"the metric of {program!r} raised ValueError on every held-out example; "
                "correct it"
            }


@in_loop
async def test_the_same_night_enqueued_twice_is_one_batch(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await class_of(worker, 3)
            first, second, third = tonight(max_concurrent=1), tonight(), tonight()
            assert await worker.batches.plan(first) is None
            so_far = await worker.batches.plan(second)
            assert so_far is not None
            assert (so_far.batch_id, so_far.eligible) == (first.id, 3)
            assert (so_far.promoted, so_far.unchanged, so_far.failed) == (0, 0, 0)
            await work_off(worker)
            assert await worker.batches.plan(third) == worker.outbox.succeeded[first.id]
            assert await worker.batches.plan(second) == so_far
            assert len(await planned(worker)) == 3


@in_loop
async def test_beats_that_enqueue_a_night_at_once_make_one_batch(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await class_of(worker, 5)
            await asyncio.gather(*(worker.batches.plan(tonight()) for _ in range(4)))
            assert len(await planned(worker)) == 5
            assert await worker.execute("SELECT count(*) FROM batch") == [1]


@in_loop
async def test_a_planner_that_died_midway_is_gone_on_with(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "PAGE", 2)
    whole = planning.plan_page
    pages = 0

    async def dying(session: Any, batch: Any, table: Any) -> bool:
        nonlocal pages
        pages += 1
        if pages == 3:
            await whole(session, batch, table)  # and dies before the commit
            raise Killed
        return await whole(session, batch, table)

    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await class_of(worker, 9)
            payload = tonight(max_concurrent=2)
            monkeypatch.setattr(planning, "plan_page", dying)
            planner = asyncio.create_task(worker.batches.plan(payload))
            with pytest.raises(Killed):
                await planner
            assert len(await planned(worker)) == 4
            assert (await worker.states()).count("queued") == 2
            monkeypatch.setattr(planning, "plan_page", whole)
            assert await worker.batches.plan(payload) is None
            assert await planned(worker) == [f"user-{number:03}" for number in range(9)]
            assert await work_off(worker) == 2
            summary = worker.outbox.succeeded[payload.id]
            assert isinstance(summary, BatchSummary)
            assert summary.eligible == 9


@in_loop
async def test_a_planner_killed_after_any_statement_is_gone_on_with(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        await class_of(worker, 7)
    planner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.planning_to_be_killed"),
        *(database_url, str(tmp_path)),
        stdout=subprocess.PIPE,
    )
    told, _ = await planner.communicate()
    assert planner.returncode == 0
    found = [line.split() for line in told.decode().splitlines()]
    assert len(found) > 15  # moments at which it was killed
    assert {tuple(left) for _, *left in found} == {("7", "2", "1")}


@in_loop
async def test_the_reaper_plans_what_a_planner_did_not_come_to(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "PAGE", 2)
    monkeypatch.setattr(batches, "PLAN_SECONDS", 0.0)
    async with working(database_url, tmp_path, lm="http://127.0.0.1:1") as worker:
        await class_of(worker, 7)
        assert await worker.batches.plan(tonight(max_concurrent=1)) is None
        assert len(await planned(worker)) == 2
        await worker.optimization.reap()
        assert len(await planned(worker)) == 7
        assert await worker.execute("SELECT state FROM batch") == ["running"]


@in_loop
async def test_a_worker_that_died_does_not_stall_a_batch(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, max_deliveries=1) as worker:
            await class_of(worker, 2)
            payload = tonight(max_concurrent=1)
            await worker.batches.plan(payload)
            job_id: UUID = worker.outbox.runs.pop()
            assert await worker.optimization._leases.claim(job_id) is not None
            await worker.execute("UPDATE optimization_job SET lease_until = now()")
            await worker.optimization.reap()
            assert sorted(await worker.states()) == ["parked", "queued"]
            await work_off(worker)
            summary = worker.outbox.succeeded[payload.id]
            assert isinstance(summary, BatchSummary)
            assert (summary.failed, summary.eligible) == (1, 2)
            (reason,) = summary.errors.values()
            assert reason.startswith("parked: 1 workers died")


@in_loop
async def test_a_batch_s_answer_that_was_lost_is_given_by_the_reaper(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = tonight()
            summary = await worker.batches.plan(payload)
            worker.outbox.succeeded.clear()
            await worker.execute(
                "UPDATE batch SET answered = false, finished_at = finished_at - interval '6 s'"
            )

            async def given() -> bool:
                await worker.optimization.reap()
                return worker.outbox.succeeded == {payload.id: summary}

            await until(given)


@in_loop
async def test_what_cannot_be_planned_is_refused(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        with pytest.raises(Refused, match="unknown program 'unheard'"):
            await worker.batches.plan(tonight(program="unheard"))
        with pytest.raises(Misconfigured, match="BESPOKE_LM is not set"):
            await worker.batches.plan(tonight())
        assert await worker.execute("SELECT count(*) FROM batch") == [0]


@in_loop
async def test_a_night_is_the_date_where_the_application_is(
    database_url: str, tmp_path: Path
) -> None:
    async with working(
        database_url, tmp_path, timezone="Pacific/Kiritimati", nightly_max_concurrent=7
    ) as worker:
        worker.batches.enqueue_nightly("premium")
        payloads = [each for each in worker.outbox.enqueued if isinstance(each, OptimizeTier)]
        assert PROGRAM in {payload.program for payload in payloads}
        for payload in payloads:
            assert (payload.tier, payload.max_concurrent) == ("premium", 7)
            assert payload.night is not None
            assert 0 <= (payload.night - datetime.now(UTC).date()).days <= 1

        def away(payload: object) -> None:
            raise ConnectionError

        worker.outbox.enqueue = away  # type: ignore[method-assign]  # a broker that is away
        with pytest.raises(Transient, match="the broker failed: ConnectionError"):
            worker.batches.enqueue_nightly("premium")
