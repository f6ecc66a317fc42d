"""A job takes effect once, however often and wherever it is delivered."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import memories, programs, uuid7
from bespoke_schemas.memories import Counted
from bespoke_workers.database import once
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import BespokeError, Cancelled, Parked, Refused
from tests.integration.databases import opened, rows
from tests.nodes.waiting import SECONDS

Effect = Callable[[AsyncSession], Awaitable[Counted]]


class Ledger:
    """An effect that leaves a row behind, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0

    async def __call__(self, session: AsyncSession) -> Counted:
        self.begun += 1
        await session.exec(
            text(
                "INSERT INTO delivery (job_id, task, redeliveries) VALUES (:id, 'mark', 0)"
            ).bindparams(id=uuid4())
        )  # type: ignore[call-overload]  # sqlmodel's exec is typed for selects of models
        return Counted(count=self.begun)


async def marks(database: Database) -> int:
    return len(await rows(database, "SELECT 1 FROM delivery WHERE task = 'mark'"))


async def jobs(database: Database) -> list[tuple[str, str | None, str]]:
    return [tuple(row) for row in await rows(database, "SELECT task, user_id, state FROM job")]


def test_the_same_payload_twice_has_one_effect_and_the_same_answer(database_url: str) -> None:
    async def run() -> None:
        payload, effect = memories.Count(user_id="ada"), Ledger()
        async with opened(database_url) as database:
            first = await once.once(database, payload, effect)
            second = await once.once(database, payload, effect)

            assert first == second == Counted(count=1)
            assert (effect.begun, await marks(database)) == (1, 1)
            assert await jobs(database) == [("bespoke.memories.count", "ada", "done")]

    asyncio.run(run())


def test_equal_payloads_of_two_ids_are_two_jobs(database_url: str) -> None:
    async def run() -> None:
        effect = Ledger()
        async with opened(database_url) as database:
            for _ in range(2):
                await once.once(database, memories.Count(user_id="ada"), effect)

            assert (effect.begun, await marks(database)) == (2, 2)

    asyncio.run(run())


def test_two_workers_with_the_same_job_at_the_same_time_do_it_once(database_url: str) -> None:
    async def run() -> None:
        payload, ledger = memories.Count(user_id="ada"), Ledger()
        inside, finish = asyncio.Event(), asyncio.Event()

        async def slow(session: AsyncSession) -> Counted:
            result = await ledger(session)
            inside.set()
            await asyncio.wait_for(finish.wait(), SECONDS)
            return result

        async with opened(database_url) as one, opened(database_url) as other:
            first = asyncio.create_task(once.once(one, payload, slow))
            await asyncio.wait_for(inside.wait(), SECONDS)
            second = asyncio.create_task(once.once(other, payload, ledger))
            await until_a_session_waits(one)
            assert not second.done()
            finish.set()

            assert await first == await second == Counted(count=1)
            assert (ledger.begun, await marks(one)) == (1, 1)

    asyncio.run(run())


def test_the_second_worker_does_the_job_when_the_first_one_fails(database_url: str) -> None:
    async def run() -> None:
        payload, ledger = memories.Count(user_id="ada"), Ledger()
        inside, finish = asyncio.Event(), asyncio.Event()

        async def failing(session: AsyncSession) -> Counted:
            await ledger(session)
            inside.set()
            await asyncio.wait_for(finish.wait(), SECONDS)
            raise Refused("no")

        async with opened(database_url) as one, opened(database_url) as other:
            first = asyncio.create_task(once.once(one, payload, failing))
            await asyncio.wait_for(inside.wait(), SECONDS)
            second = asyncio.create_task(once.once(other, payload, ledger))
            await until_a_session_waits(one)
            finish.set()

            with pytest.raises(Refused, match="no"):
                await first
            assert await second == Counted(count=2)
            assert await marks(one) == 1

    asyncio.run(run())


@pytest.mark.parametrize("error", [ValueError("oops"), Refused("no"), asyncio.CancelledError()])
def test_an_effect_that_raises_leaves_nothing(database_url: str, error: BaseException) -> None:
    async def run() -> None:
        payload, ledger = memories.Count(user_id="ada"), Ledger()

        async def failing(session: AsyncSession) -> Counted:
            await ledger(session)
            raise error

        async with opened(database_url) as database:
            with pytest.raises(type(error)):
                await once.once(database, payload, failing)

            assert await marks(database) == 0
            assert await jobs(database) == []
            assert await once.once(database, payload, ledger) == Counted(count=2)

    asyncio.run(run())


@pytest.mark.parametrize("other", ["task", "user", "nobody"])
def test_an_id_that_belongs_to_another_job_is_refused(database_url: str, other: str) -> None:
    async def run() -> None:
        first = memories.Count(user_id="ada")
        second: memories.Count | memories.List | programs.LoadActive = {
            "task": memories.List(id=first.id, user_id="ada"),
            "user": memories.Count(id=first.id, user_id="grace"),
            "nobody": programs.LoadActive(id=first.id, program="support"),
        }[other]  # type: ignore[assignment]  # a dict of three types has their base's
        ledger = Ledger()
        async with opened(database_url) as database:
            await once.once(database, first, ledger)
            with pytest.raises(Refused) as refused:
                await once.once(database, second, ledger)

            assert str(refused.value).startswith(f"the id {first.id} belongs to another job;")
            assert not re.search(r"\bada\b", str(refused.value))
            assert await marks(database) == 1

    asyncio.run(run())


@pytest.mark.parametrize(("state", "error"), [("parked", Parked), ("cancelled", Cancelled)])
def test_a_job_that_ended_before_its_effect_stays_ended(
    database_url: str, state: str, error: type[BespokeError]
) -> None:
    async def run() -> None:
        payload, effect = memories.Count(user_id="ada"), Ledger()
        async with opened(database_url) as database:
            async with database.transaction() as session:
                assert await once.end(session, payload.id, payload.task, state, "the reason")
            for _ in range(2):
                with pytest.raises(error, match=r"^the reason$"):
                    await once.once(database, payload, effect)

            assert effect.begun == 0
            assert await jobs(database) == [("bespoke.memories.count", None, state)]

    asyncio.run(run())


def test_a_job_that_took_effect_can_no_longer_be_ended(database_url: str) -> None:
    async def run() -> None:
        payload = memories.Count(user_id="ada")
        async with opened(database_url) as database:
            await once.once(database, payload, Ledger())
            async with database.transaction() as session:
                assert not await once.end(session, payload.id, payload.task, "cancelled", "late")

            assert await once.once(database, payload, Ledger()) == Counted(count=1)

    asyncio.run(run())


def test_a_job_that_ended_is_not_ended_again(database_url: str) -> None:
    async def run() -> None:
        job_id = uuid7()
        async with opened(database_url) as database:
            async with database.transaction() as session:
                assert await once.end(session, job_id, "bespoke.memories.count", "cancelled", "a")
                assert not await once.end(session, job_id, "bespoke.memories.count", "parked", "b")

            assert await rows(database, "SELECT state, reason FROM job") == [("cancelled", "a")]

    asyncio.run(run())


async def until_a_session_waits(database: Database) -> None:
    """Return once some session of this database waits for another one's transaction."""
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )
    async with asyncio.timeout(SECONDS):
        while not await rows(database, waiting):
            await asyncio.sleep(0)
