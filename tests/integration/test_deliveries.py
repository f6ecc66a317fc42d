"""Redeliveries are counted, and a job that keeps killing its worker is parked."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas import Payload, memories
from bespoke_schemas.memories import Counted
from bespoke_schemas.optimization import OptimizeTier
from bespoke_workers.database import deliveries, once, records
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Parked
from bespoke_workers.memories import importing, record_source
from bespoke_workers.settings import Settings
from tests.integration.databases import opened, rows
from tests.integration.record_files import put, side

THREE = Settings(max_deliveries=3)


async def redeliver(database: Database, payload: Payload[Any]) -> None:
    await deliveries.count(database, THREE, str(payload.id), payload.task)


def test_a_job_is_parked_after_so_many_deaths(database_url: str) -> None:
    async def run() -> None:
        payload = memories.Count(user_id="ada")
        async with opened(database_url) as database:
            for _ in range(2):
                await redeliver(database, payload)
            assert await rows(database, "SELECT * FROM job") == []
            with pytest.raises(Parked) as parked:
                await redeliver(database, payload)

            assert str(parked.value).startswith("parked: 3 workers died or lost their connection")
            assert await rows(database, "SELECT id, task, state, reason FROM job") == [
                (payload.id, payload.task, "parked", str(parked.value))
            ]
            assert await rows(database, "SELECT redeliveries FROM delivery") == [(3,)]

    asyncio.run(run())


def test_a_parked_job_that_comes_again_answers_with_the_same_reason(database_url: str) -> None:
    async def run() -> None:
        payload = memories.Count(user_id="ada")
        async with opened(database_url) as database:
            for _ in range(2):
                await redeliver(database, payload)
            with pytest.raises(Parked) as parked:
                await redeliver(database, payload)
            await redeliver(database, payload)  # it has ended: what follows answers
            with pytest.raises(Parked) as again:
                await once.once(database, payload, unreachable)

            assert str(again.value) == str(parked.value)

    asyncio.run(run())


def test_a_job_that_took_effect_before_its_worker_died_is_not_parked(database_url: str) -> None:
    async def run() -> None:
        payload = memories.Count(user_id="ada")

        async def effect(_: object) -> Counted:
            return Counted(count=7)

        async with opened(database_url) as database:
            await once.once(database, payload, effect)
            for _ in range(5):
                await redeliver(database, payload)

            assert await once.once(database, payload, unreachable) == Counted(count=7)

    asyncio.run(run())


def test_each_job_is_counted_for_itself(database_url: str) -> None:
    async def run() -> None:
        async with opened(database_url) as database:
            for _ in range(10):
                await redeliver(database, memories.Count(user_id="ada"))

            assert await rows(database, "SELECT DISTINCT redeliveries FROM delivery") == [(1,)]

    asyncio.run(run())


def test_deliveries_to_two_workers_at_once_are_both_counted(database_url: str) -> None:
    async def run() -> None:
        payload = memories.Count(user_id="ada")
        async with opened(database_url) as one, opened(database_url) as other:
            outcomes = await asyncio.gather(
                *(redeliver(database, payload) for database in (one, other, one, other)),
                return_exceptions=True,
            )

            assert await rows(one, "SELECT redeliveries FROM delivery") == [(4,)]
            assert [type(outcome) for outcome in outcomes if outcome] == [Parked]

    asyncio.run(run())


@pytest.fixture
def one_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(record_source, "PAGE_RECORDS", 2)


@pytest.mark.usefixtures("one_page_at_a_time")
def test_a_job_of_several_pages_is_parked_between_two(database_url: str, storage: Path) -> None:
    source = put(storage, *({"content": f"likes {topic}"} for topic in ("tea", "cake", "rain")))
    payload = memories.Import(user_id="ada", source=source)

    async def run() -> None:
        async with opened(database_url) as database, side(database_url, storage) as remembered:
            assert await remembered.import_(payload) is None
            for _ in range(2):
                await redeliver(database, payload)
            with pytest.raises(Parked) as parked:
                await redeliver(database, payload)
            with pytest.raises(Parked) as again:
                await remembered.import_(payload)

            assert str(again.value) == str(parked.value)
            assert await rows(database, "SELECT state, reason FROM job") == [
                ("parked", str(parked.value))
            ]
            assert await rows(database, "SELECT count(*) FROM memory") == [(2,)]

    asyncio.run(run())


@pytest.mark.usefixtures("one_page_at_a_time")
def test_a_page_done_between_two_deaths_begins_the_count_anew(
    database_url: str, storage: Path
) -> None:
    source = put(storage, *({"content": f"likes {number} cats"} for number in range(6)))
    payload = memories.Import(user_id="ada", source=source)

    async def run() -> None:
        async with opened(database_url) as database, side(database_url, storage) as remembered:
            for _ in range(2):
                assert await remembered.import_(payload) is None
                for _ in range(2):
                    await redeliver(database, payload)

            assert await rows(database, "SELECT redeliveries FROM delivery") == [(2,)]
            done = await remembered.import_(payload)
            assert done is not None
            assert done.imported_count == 6

    asyncio.run(run())


def test_a_job_that_others_go_on_with_is_not_parked(database_url: str) -> None:
    async def run() -> None:
        payload = OptimizeTier(program="support", tier="basic")
        async with opened(database_url) as database:
            async with database.transaction() as session:
                await records.accept(session, payload)
            for _ in range(5):
                await redeliver(database, payload)

            assert await rows(database, "SELECT state FROM job") == [("accepted",)]

    asyncio.run(run())


async def unreachable(_: object) -> Counted:
    raise AssertionError("the effect must not be begun")
