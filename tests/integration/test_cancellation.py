"""Cancelling: what waits never begins, what runs is stopped, what has ended stays as it is."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.examples import Add
from bespoke_schemas.ids import uuid7
from bespoke_schemas.jobs import Cancel
from bespoke_schemas.memories import Compact
from bespoke_schemas.optimization import OptimizeTier, OptimizeUser
from bespoke_workers.database import records
from bespoke_workers.database.tables import OptimizationJob
from bespoke_workers.errors import Cancelled
from examples.support_desk.standin_lm import StandinLM
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, working
from tests.integration.test_once import until_a_session_waits
from tests.nodes.waiting import SECONDS


def lesson() -> dict[str, Any]:
    return {"text": "m", "label": "t"}


@in_loop
async def test_a_short_job_that_was_cancelled_before_it_came_has_no_effect(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        payload = Add(user_id="ada", program=PROGRAM, example=lesson())
        cancel = Cancel(job_id=payload.id)
        cancelled = await worker.cancellation.cancel(cancel)
        assert cancelled.cancelled
        assert isinstance(worker.outbox.failed[payload.id], Cancelled)
        with pytest.raises(Cancelled, match="cancelled before it began"):
            await worker.examples.add(payload)
        assert await worker.execute("SELECT count(*) FROM example") == [0]
        assert await worker.cancellation.cancel(cancel) == cancelled
        again = await worker.cancellation.cancel(Cancel(job_id=payload.id))
        assert (again.cancelled, again.reason) == (False, "it has ended: cancelled")


@in_loop
async def test_a_job_that_has_ended_is_not_cancelled(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = Add(user_id="ada", program=PROGRAM, example=lesson())
            added = await worker.examples.add(payload)
            answer = await worker.cancellation.cancel(Cancel(job_id=payload.id))
            assert (answer.cancelled, answer.reason) == (False, "it has ended: done")
            assert await worker.examples.add(payload) == added
            optimization = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(optimization)
            optimized = await worker.optimization.run(optimization.id)
            answer = await worker.cancellation.cancel(Cancel(job_id=optimization.id))
            assert (answer.cancelled, answer.reason) == (False, "it has ended: succeeded")
            assert await worker.optimization.run(optimization.id) == optimized
            assert worker.outbox.failed == {}


@pytest.mark.parametrize("accepted", [True, False])
@in_loop
async def test_an_optimization_that_waits_is_never_run(
    database_url: str, tmp_path: Path, accepted: bool
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            if accepted:
                await worker.optimization.accept(payload)
            answer = await worker.cancellation.cancel(Cancel(job_id=payload.id))
            assert answer.cancelled
            assert isinstance(worker.outbox.failed[payload.id], Cancelled)
            with pytest.raises(Cancelled, match="cancelled before it began"):
                await worker.optimization.accept(payload)
            if accepted:
                with pytest.raises(Cancelled, match="cancelled before it began"):
                    await worker.optimization.run(payload.id)
            assert lm.calls == 0


@in_loop
async def test_accepting_and_cancelling_at_once_has_one_outcome(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            for _ in range(10):
                payload = OptimizeUser(user_id="ada", program=PROGRAM)
                accepted, answer = await asyncio.gather(
                    worker.optimization.accept(payload),
                    worker.cancellation.cancel(Cancel(job_id=payload.id)),
                    return_exceptions=True,
                )
                assert not isinstance(answer, BaseException)
                assert answer.cancelled
                assert accepted is None or isinstance(accepted, Cancelled)
                with pytest.raises(Cancelled):
                    await worker.optimization.accept(payload)


@pytest.mark.parametrize("kind", ["a run", "a batch"])
@in_loop
async def test_what_is_accepted_in_the_middle_of_its_cancellation_is_cancelled(
    database_url: str, tmp_path: Path, kind: str
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            database, cancellation = worker.database, worker.cancellation
            run = OptimizeUser(user_id="ada", program=PROGRAM)
            batch = OptimizeTier(program=PROGRAM, tier="basic")
            async with asyncio.timeout(SECONDS), database.transaction() as session:
                if kind == "a run":
                    payload_id = await accepted_run(session, run)
                else:
                    payload_id = batch.id
                    assert await worker.batches._begin(session, batch) is None
                cancelling = asyncio.create_task(cancellation.cancel(Cancel(job_id=payload_id)))
                await until_a_session_waits(database)
            answer = await cancelling
            assert answer.cancelled
            assert isinstance(worker.outbox.failed[payload_id], Cancelled)
            with pytest.raises(Cancelled):
                await (
                    worker.optimization.accept(run)
                    if kind == "a run"
                    else worker.batches.plan(batch)
                )
            assert worker.outbox.runs == []


async def accepted_run(session: AsyncSession, payload: OptimizeUser) -> UUID:
    """Write what the acceptance of an optimization writes."""
    await records.accept(session, payload)
    await session.exec(
        insert(OptimizationJob).values(
            id=payload.id, user_id=payload.user_id, program=payload.program, state="queued"
        )
    )
    return payload.id


@in_loop
async def test_a_run_that_is_let_go_in_the_middle_of_its_batch_s_cancellation_is_cancelled(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            payload = OptimizeTier(program=PROGRAM, tier="basic")
            await worker.batches.plan(payload)
            (job_id,) = worker.outbox.runs
            leases = worker.optimization._leases
            claim = await leases.claim(job_id)
            assert claim is not None
            async with asyncio.timeout(SECONDS), worker.database.transaction() as session:
                await session.exec(
                    update(OptimizationJob)
                    .where(col(OptimizationJob.id) == job_id)
                    .values(state="queued", lease_owner=None, lease_until=None)
                )
                cancelling = asyncio.create_task(
                    worker.cancellation.cancel(Cancel(job_id=payload.id))
                )
                await until_a_session_waits(worker.database)
            assert (await cancelling).cancelled
            row = await worker.row(job_id)
            assert (row.state, row.error) == ("cancelled", "cancelled while it ran")
            assert (row.finished_at is not None, row.cancel_requested) == (True, False)
            assert await leases.claim(job_id) is None


@in_loop
async def test_a_run_whose_worker_died_after_the_request_ends_cancelled(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            assert await worker.optimization._leases.claim(payload.id) is not None
            await worker.cancellation.cancel(Cancel(job_id=payload.id))
            await worker.execute("UPDATE optimization_job SET lease_until = now()")
            await worker.optimization.reap()
            assert await worker.states() == ["cancelled"]
            with pytest.raises(Cancelled, match="cancelled while it ran"):
                await worker.optimization.run(payload.id)


@in_loop
async def test_a_batch_is_cancelled_with_all_of_its_users(
    database_url: str, tmp_path: Path
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            for number in range(5):
                await worker.teach(f"user-{number}", 40)
            payload = OptimizeTier(program=PROGRAM, tier="basic", max_concurrent=2)
            await worker.batches.plan(payload)
            running = asyncio.create_task(worker.optimization.run(worker.outbox.runs[0]))
            await holding.holds()
            answer = await worker.cancellation.cancel(Cancel(job_id=payload.id))
            assert answer.cancelled
            holding.let_go()
            with pytest.raises(Cancelled):
                await running
            assert await worker.states() == ["cancelled"] * 5
            assert isinstance(worker.outbox.failed[payload.id], Cancelled)
            with pytest.raises(Cancelled):
                await worker.batches.plan(payload)
            sent = len(worker.outbox.runs)
            await worker.optimization.reap()
            assert len(worker.outbox.runs) == sent


@in_loop
async def test_an_id_that_nobody_has_is_kept_from_beginning(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        answer = await worker.cancellation.cancel(Cancel(job_id=uuid7()))
        assert (answer.cancelled, answer.reason) == (True, "it had not begun, and will not")


@in_loop
async def test_what_has_begun_and_cannot_be_stopped_is_not_said_to_have_ended(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        everybody = Compact()
        async with worker.database.transaction() as session:
            assert await records.accept(session, everybody)
        answer = await worker.cancellation.cancel(Cancel(job_id=everybody.id))
        assert (answer.cancelled, answer.reason) == (
            False, "it has begun, and ends as it would have",
        )  # fmt: skip


@pytest.mark.parametrize("which", ["its own", "another", None])
@in_loop
async def test_a_run_that_was_revoked_ends_at_once_if_its_process_was_killed_with_it(
    database_url: str, tmp_path: Path, which: str | None
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            claim = await worker.optimization._leases.claim(payload.id)
            assert claim is not None
            host, pid, _ = claim.owner.split(":")
            process = {"its own": f"{host}:{pid}", "another": f"{host}:{pid}0"}.get(which or "")
            for _ in range(2):
                await worker.cancellation.revoked(payload.id, process)
            row = await worker.row(payload.id)
            if which == "its own":
                assert (row.state, row.error) == ("cancelled", "cancelled while it ran")
                assert str(worker.outbox.failed[payload.id]) == "cancelled while it ran"
                with pytest.raises(Cancelled):
                    await worker.optimization.accept(payload)
            else:
                assert (row.state, row.cancel_requested) == ("running", True)
                assert worker.outbox.failed == {}
