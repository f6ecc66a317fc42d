"""What optimizations took is told by user, tier, day and night, however they ended."""

import asyncio
import threading
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bespoke_schemas.jobs import Cancel
from bespoke_schemas.optimization import OptimizeTier, OptimizeUser, Spending, SpendingLine
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Cancelled
from bespoke_workers.optimization.language_model import lm_cache_folders
from bespoke_workers.optimization.language_model.lm_cache import JobCache
from bespoke_workers.optimization.leases import Leases
from bespoke_workers.optimization.spending import SpendingRecords
from bespoke_workers.optimization.stopping import OutOfBudget
from examples.support_desk import answers, prompts
from examples.support_desk.standin_lm import StandinLM
from tests.integration.databases import opened
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, until, working
from tests.nodes.waiting import SECONDS

ROWS = """
INSERT INTO optimization_job (id, user_id, program, state, ran_tier, started_at, finished_at,
    lm_calls, prompt_tokens, completion_tokens, cost_usd, unpriced_calls, seconds)
SELECT gen_random_uuid(), 'user-' || n % 3, 'support', state,
    (ARRAY['basic', 'premium'])[1 + n % 2],
    timestamptz '2026-06-01 20:30+00' + n * interval '1 hour', now(), 10, 100, 20, 0.5, n % 2, 2
FROM unnest(ARRAY['succeeded', 'failed', 'cancelled', 'parked', 'running', 'succeeded'])
    WITH ORDINALITY r(state, n)
"""


async def planted(database: Database) -> SpendingRecords:
    async with database.transaction() as session:
        await (await session.connection()).execute(text(ROWS))
        await (await session.connection()).execute(
            text(
                "INSERT INTO optimization_job (id, user_id, program, state)"
                " VALUES (gen_random_uuid(), 'nobody-began', 'support', 'planned')"
            )
        )
    return SpendingRecords(database, "Europe/Berlin")


def runs(lines: tuple[SpendingLine, ...]) -> dict[str, int]:
    return {line.key: line.runs for line in lines}


@in_loop
async def test_spending_is_told_apart_by_whatever_is_asked(database_url: str) -> None:
    async with opened(database_url) as database:
        spending = await planted(database)

        by_tier = await spending.told(Spending(by="tier"))
        by_day = await spending.told(Spending(by="day"))
        by_night = await spending.told(Spending(by="night"))

        assert runs(by_tier.lines) == {"basic": 3, "premium": 3}
        assert runs(by_day.lines) == {"2026-06-01": 1, "2026-06-02": 5}  # in Berlin
        assert by_night.lines == ()
        assert by_day.total == SpendingLine(
            key="all", runs=6, failed=3, lm_calls=60, prompt_tokens=600, completion_tokens=120,
            cost_usd=3.0, unpriced_calls=3, seconds=12.0,
        )  # fmt: skip
        since = datetime(2026, 6, 2, 1, 0, tzinfo=UTC)
        later = await spending.told(Spending(by="program", since=since, program="support"))
        assert runs(later.lines) == {"support": 2}
        premium = await spending.told(Spending(by="program", tier="premium", until=since))
        assert premium.total.runs == 2


@in_loop
async def test_spending_by_user_comes_page_by_page(database_url: str) -> None:
    async with opened(database_url) as database:
        spending = await planted(database)

        first = await spending.told(Spending(by="user", limit=2))
        second = await spending.told(Spending(by="user", limit=2, after=first.next))

        assert runs(first.lines) == {"user-0": 2, "user-1": 2}
        assert (runs(second.lines), second.next) == ({"user-2": 2}, None)
        assert first.total == second.total
        mine = await spending.told(Spending(by="day", user_id="user-1"))
        assert mine.total.runs == 2


@in_loop
async def test_what_a_batch_and_a_failed_run_paid_is_in_the_sum(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            for user in ("ada", "bob"):
                await worker.teach(user, 12)
            with pytest.raises(OutOfBudget):
                await worker.optimize("ada", max_lm_calls=3)
            worker.outbox.runs.clear()
            await worker.batches.plan(OptimizeTier(program=PROGRAM, tier="basic"))
            while worker.outbox.runs:
                await worker.optimization.run(worker.outbox.runs.pop(0))

            spending = SpendingRecords(worker.database, "UTC")
            by_user = await spending.told(Spending(by="user"))
            by_night = await spending.told(Spending(by="night"))

            assert sum(line.lm_calls for line in by_user.lines) == lm.calls
            assert by_user.total.unpriced_calls == lm.calls
            assert by_user.total.failed == 1
            assert by_night.total.lm_calls == lm.calls - 3
            assert runs((await spending.told(Spending(by="tier"))).lines) == {"basic": 3}


@in_loop
async def test_what_a_killed_run_paid_is_taken_from_its_cache_before_that_is_removed(
    database_url: str, tmp_path: Path
) -> None:
    tokens: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": 2}
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, max_deliveries=1) as worker:
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            leases = Leases(worker.database, worker.settings.lease, max_attempts=1)
            assert await leases.claim(payload.id) is not None
            with JobCache(lm_cache_folders.directory(tmp_path, payload.id)) as cache:
                cache.keep("question", {}, tokens, 0.25)
                cache.keep("another", {}, tokens, None)
            await worker.execute("UPDATE optimization_job SET lease_until = now()")

            await worker.optimization.reap()

            row = await worker.row(payload.id)
            assert (row.state, row.lm_calls, row.prompt_tokens) == ("parked", 2, 14)
            assert (row.cost_usd, row.unpriced_calls) == (0.25, 1)
            assert lm_cache_folders.left_over(tmp_path) == []


class HeldApart:
    """An ``Answer`` for StandinLM: the first call is held by itself, all others together."""

    def __init__(self) -> None:
        self.calls = count(1)
        self.held: list[int] = []
        self.first, self.others = threading.Event(), threading.Event()

    def __call__(self, prompt: prompts.Prompt) -> str:
        number = next(self.calls)
        self.held.append(number)
        assert (self.first if number == 1 else self.others).wait(SECONDS)
        return answers.answer(prompt)


@in_loop
async def test_a_call_that_upkeep_has_counted_for_a_cancelled_run_is_not_counted_again(
    database_url: str, tmp_path: Path
) -> None:
    held = HeldApart()
    with StandinLM(answer=held) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            running = asyncio.create_task(worker.optimization.run(payload.id))
            await until(lambda: is_so(len(held.held) > 1))
            await worker.cancellation.cancel(Cancel(job_id=payload.id))
            await until(lambda: is_so(payload.id in worker.outbox.failed))
            held.first.set()
            await until(lambda: is_so(lm_cache_folders.spent(tmp_path, payload.id).lm_calls > 0))
            await worker.optimization.reap()
            assert (await worker.row(payload.id)).lm_calls == 1
            held.others.set()
            with pytest.raises(Cancelled):
                await running
            assert (await worker.row(payload.id)).lm_calls == lm.calls == len(held.held)


async def is_so(true: bool) -> bool:
    return true
