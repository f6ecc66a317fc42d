"""Batches that are paused begin nothing, nor do those whose budget is spent; old ones go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas import uuid7
from bespoke_schemas.jobs import Cancel
from bespoke_schemas.optimization import (
    BatchSummary,
    GetBatch,
    ListBatches,
    OptimizeAll,
    OptimizeTier,
    OptimizeUser,
    PauseBatch,
    ResumeBatch,
)
from bespoke_workers.database import retention
from bespoke_workers.database.retention import Retention
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.batches.all_tiers import AllTiers
from bespoke_workers.optimization.batches.batch_records import BatchRecords
from bespoke_workers.optimization.batches.pausing import Pausing
from examples.support_desk.standin_lm import StandinLM
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, Worker, working
from tests.nodes.waiting import SECONDS


@asynccontextmanager
async def taught(url: str, home: Path, users: int) -> AsyncIterator[Worker]:
    """Open a worker with users who have examples enough for the tier ``basic``."""
    with StandinLM() as lm:
        async with working(url, home, lm=lm.url) as worker:
            for number in range(users):
                await worker.teach(f"user-{number}", 10)
            yield worker


def asked(**options: Any) -> OptimizeTier:
    return OptimizeTier(**{"program": PROGRAM, "tier": "basic", "max_concurrent": 2, **options})


async def run_all(worker: Worker) -> None:
    while worker.outbox.runs:
        await worker.optimization.run(worker.outbox.runs.pop(0))


async def state(worker: Worker, batch_id: UUID) -> str:
    got = await BatchRecords(worker.database).get(GetBatch(batch_id=batch_id))
    assert got.batch is not None
    return got.batch.state


@in_loop
async def test_a_paused_batch_begins_nothing_until_it_goes_on(
    database_url: str, tmp_path: Path
) -> None:
    async with taught(database_url, tmp_path, 4) as worker:
        pausing = Pausing(worker.database, worker.batches)
        payload = asked()
        await worker.batches.plan(payload)
        running, waiting = worker.outbox.runs
        assert await worker.optimization._leases.claim(running) is not None

        assert (await pausing.pause(PauseBatch(batch_id=payload.id))).paused

        assert await worker.optimization.run(waiting) is None
        await worker.optimization.reap()
        assert sorted(await worker.states()) == ["planned"] * 3 + ["running"]
        assert await state(worker, payload.id) == "paused"
        listed = await BatchRecords(worker.database).list(ListBatches(state="paused"))
        assert [one.batch_id for one in listed.batches] == [payload.id]

        resumed = ResumeBatch(batch_id=payload.id)
        assert (await pausing.resume(resumed)).resumed
        assert await pausing.resume(resumed) == await pausing.resume(resumed)
        assert (await worker.states()).count("queued") == 1
        await worker.execute(
            "UPDATE optimization_job SET lease_until = now() WHERE lease_until IS NOT NULL"
        )
        await worker.optimization.reap()
        await run_all(worker)
        summary = worker.outbox.succeeded[payload.id]
        assert isinstance(summary, BatchSummary)
        assert (summary.eligible, summary.failed, summary.skipped) == (4, 0, 0)


@in_loop
async def test_a_run_that_died_in_a_paused_batch_keeps_no_other_of_its_user_from_beginning(
    database_url: str, tmp_path: Path
) -> None:
    async with taught(database_url, tmp_path, 1) as worker:
        pausing, leases = Pausing(worker.database, worker.batches), worker.optimization._leases
        payload, mine = asked(), OptimizeUser(user_id="user-0", program=PROGRAM)
        await worker.batches.plan(payload)
        (dead,) = worker.outbox.runs
        assert await leases.claim(dead) is not None
        await pausing.pause(PauseBatch(batch_id=payload.id))
        await worker.optimization.accept(mine)
        assert await worker.optimization.run(mine.id) is None
        await worker.execute("UPDATE optimization_job SET lease_until = now()")

        await worker.optimization.reap()

        optimized = await worker.optimization.run(mine.id)
        assert optimized is not None
        assert optimized.optimizer == "LabeledFewShot"
        row = await worker.row(dead)
        assert (row.state, row.lease_owner, row.attempts) == ("planned", None, 1)
        worker.outbox.runs.clear()
        await pausing.resume(ResumeBatch(batch_id=payload.id))
        assert worker.outbox.runs == [dead]
        await run_all(worker)
        assert await worker.states() == ["succeeded"] * 2


@in_loop
async def test_a_run_that_fine_tunes_goes_on_in_its_own_queue_when_its_batch_does(
    database_url: str, tmp_path: Path
) -> None:
    async with taught(database_url, tmp_path, 2) as worker:
        pausing, leases = Pausing(worker.database, worker.batches), worker.optimization._leases
        payload = asked()
        await worker.batches.plan(payload)
        tuning, other = worker.outbox.runs
        claim = await leases.claim(tuning)
        assert claim is not None
        await leases.hand_over(claim, finetuning=True)
        await pausing.pause(PauseBatch(batch_id=payload.id))
        worker.outbox.runs.clear()

        await pausing.resume(ResumeBatch(batch_id=payload.id))

        assert sorted(worker.outbox.runs) == sorted((tuning, other))
        assert worker.outbox.finetunings == [tuning]
        assert worker.outbox.unanswered == {tuning, other}


@in_loop
async def test_a_run_whose_worker_died_waits_while_its_batch_is_paused(
    database_url: str, tmp_path: Path
) -> None:
    async with taught(database_url, tmp_path, 1) as worker:
        pausing = Pausing(worker.database, worker.batches)
        payload = asked()
        await worker.batches.plan(payload)
        (job_id,) = worker.outbox.runs
        assert await worker.optimization._leases.claim(job_id) is not None
        await pausing.pause(PauseBatch(batch_id=payload.id))
        await worker.execute("UPDATE optimization_job SET lease_until = now()")
        worker.outbox.runs.clear()
        await worker.optimization.reap()
        assert worker.outbox.runs == []
        assert await worker.optimization._leases.claim(job_id) is None
        await pausing.resume(ResumeBatch(batch_id=payload.id))
        await worker.optimization.reap()
        await run_all(worker)
        assert await state(worker, payload.id) == "done"


@in_loop
async def test_a_batch_that_ended_or_is_none_is_not_paused(
    database_url: str, tmp_path: Path
) -> None:
    async with taught(database_url, tmp_path, 0) as worker:
        pausing = Pausing(worker.database, worker.batches)
        payload = asked()
        await worker.batches.plan(payload)
        ended = await pausing.pause(PauseBatch(batch_id=payload.id))
        assert (ended.paused, ended.reason) == (False, "it has ended: done")
        assert not (await pausing.pause(PauseBatch(batch_id=uuid7()))).paused
        assert not (await pausing.resume(ResumeBatch(batch_id=payload.id))).resumed


@in_loop
async def test_a_batch_begins_no_run_once_its_budget_is_spent(
    database_url: str, tmp_path: Path
) -> None:
    async with taught(database_url, tmp_path, 4) as worker:
        payload = asked(max_concurrent=1, max_lm_calls=1)
        await worker.batches.plan(payload)
        await run_all(worker)
        summary = worker.outbox.succeeded[payload.id]
        assert isinstance(summary, BatchSummary)
        assert (summary.promoted + summary.unchanged, summary.failed, summary.skipped) == (1, 0, 3)
        assert "LM calls of 1 (max_lm_calls)" in str(summary.over_budget)
        assert summary.errors == {}
        assert await state(worker, payload.id) == "over_budget"
        await worker.batches.plan(asked(max_concurrent=4))  # the next one has them
        assert sorted(await worker.states()) == ["queued"] * 3 + ["skipped"] * 3 + ["succeeded"]


@pytest.mark.parametrize(
    ("ended_by", "error"),
    [
        ("its budget", "not run to its end: the batch's budget is spent: "),
        ("its cancellation", "cancelled while it ran"),
    ],
)
@in_loop
async def test_a_run_that_was_handed_over_ends_with_its_batch_as_one_that_was_begun(
    database_url: str, tmp_path: Path, ended_by: str, error: str
) -> None:
    async with taught(database_url, tmp_path, 2) as worker:
        payload = asked(max_seconds=60, max_concurrent=2)
        await worker.batches.plan(payload)
        begun = worker.outbox.runs[0]
        leases = worker.optimization._leases
        claim = await leases.claim(begun)
        assert claim is not None
        await leases.hand_over(claim, finetuning=False)

        if ended_by == "its budget":
            await worker.execute("UPDATE batch SET created_at = now() - interval '61 s'")
            await worker.optimization.reap()
        else:
            await worker.cancellation.cancel(Cancel(job_id=payload.id))

        row = await worker.row(begun)
        assert row.state == "cancelled"
        assert (row.error or "").startswith(error)


@in_loop
async def test_a_batch_whose_time_is_over_is_ended_by_the_reaper_and_its_dead_run_too(
    database_url: str, tmp_path: Path
) -> None:
    async with taught(database_url, tmp_path, 4) as worker:
        payload = asked(max_seconds=60)
        await worker.batches.plan(payload)
        assert await worker.optimization._leases.claim(worker.outbox.runs[0]) is not None
        await worker.execute("UPDATE batch SET created_at = now() - interval '61 s'")
        await worker.optimization.reap()
        assert sorted(await worker.states()) == ["running"] + ["skipped"] * 3
        await worker.execute(
            "UPDATE optimization_job SET lease_until = now() WHERE state = 'running'"
        )
        await worker.optimization.reap()
        summary = worker.outbox.succeeded[payload.id]
        assert isinstance(summary, BatchSummary)
        assert (summary.skipped, summary.failed) == (3, 1)
        assert "(max_seconds)" in str(summary.over_budget)


@in_loop
async def test_all_tiers_are_a_batch_each_however_often_it_is_delivered(
    database_url: str, tmp_path: Path
) -> None:
    async with taught(database_url, tmp_path, 1) as worker:
        all_tiers = AllTiers(worker.database, worker.settings, worker.outbox)
        payload = OptimizeAll(program=PROGRAM, max_concurrent=3)
        begun = await all_tiers.begin(payload)
        assert await all_tiers.begin(payload) == begun
        assert [one.tier for one in begun.batches] == ["basic", "advanced", "premium"]
        sent = [each for each in worker.outbox.enqueued if isinstance(each, OptimizeTier)]
        assert [each.id for each in sent] == [one.batch_id for one in begun.batches] * 2
        for each in sent:
            await worker.batches.plan(each)
        assert await worker.execute("SELECT count(*) FROM batch") == [3]
        with pytest.raises(Refused, match="unknown program"):
            await all_tiers.begin(OptimizeAll(program="unheard"))


@in_loop
async def test_runs_and_batches_are_kept_for_a_year_by_themselves(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    async with taught(database_url, tmp_path, 3) as worker:
        old, open_, recent = asked(), asked(min_new_examples=0), asked(min_new_examples=0)
        for payload in (old, recent):
            await worker.batches.plan(payload)
            await run_all(worker)
        await worker.batches.plan(open_)
        prune = Retention(worker.database, worker.settings).prune
        age = "finished_at = finished_at - interval '364 days'"
        await worker.execute(f"UPDATE optimization_job SET {age} WHERE batch_id = :id", id=old.id)
        await worker.execute(f"UPDATE batch SET {age} WHERE id = :id", id=old.id)
        assert await prune(SECONDS)
        assert len(await worker.states()) == 9
        age = "finished_at = finished_at - interval '2 days'"
        await worker.execute(f"UPDATE optimization_job SET {age} WHERE batch_id = :id", id=old.id)
        await worker.execute(f"UPDATE batch SET {age} WHERE id = :id", id=old.id)
        assert await prune(SECONDS)
        assert set(await worker.execute("SELECT id FROM batch")) == {recent.id, open_.id}
        assert len(await worker.states()) == 6
