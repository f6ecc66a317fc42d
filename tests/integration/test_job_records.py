"""What became of jobs can be read, a user's and everybody's, without what they were about."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects.postgresql import dialect

from bespoke_schemas import jobs, memories, uuid7
from bespoke_workers.database import deliveries, once, records, retention
from bespoke_workers.database.engine import Database
from bespoke_workers.database.job_records import JobRecords, page
from bespoke_workers.database.retention import Retention
from bespoke_workers.database.tables.jobs import WITHOUT_EFFECT
from bespoke_workers.errors import Parked
from bespoke_workers.settings import Settings
from tests.integration.databases import opened, rows
from tests.integration.test_once import until_a_session_waits
from tests.nodes.waiting import SECONDS

SECRET = "sleeps badly"
MANY = """INSERT INTO job (id, task, user_id, state, finished_at)
    SELECT gen_random_uuid(), 't', CASE n % 50 WHEN 0 THEN 'ada' ELSE 'bob' END,
        CASE n % 50 WHEN 1 THEN 'failed' ELSE 'done' END, now() - n * interval '1 second'
    FROM generate_series(1, 5000) AS n"""
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


async def done(database: Database, user_id: str) -> UUID:
    """Let a job take effect whose result holds what a user said."""
    payload = memories.Get(user_id=user_id, memory_id=uuid7())
    got = memories.Got(
        memory=memories.Memory(
            id=payload.memory_id, content=SECRET, kind="fact", tags=(), metadata={},
            created_at=NOON, updated_at=NOON, access_count=0, last_accessed_at=None,
        )
    )  # fmt: skip

    async def effect(_: object) -> memories.Got:
        return got

    await once.once(database, payload, effect)
    return payload.id


async def ended(database: Database, state: str, user_id: str | None = None) -> UUID:
    """End a job without an effect."""
    job_id = uuid7()
    async with database.transaction() as session:
        await records.complete(
            session, job_id, "bespoke.examples.add", state, user_id=user_id, reason=f"it {state}"
        )
    return job_id


async def end_together(database: Database) -> None:
    """Give all jobs one time of ending, so that only their ids tell them apart."""
    async with database.transaction() as session:
        await session.exec(text("UPDATE job SET finished_at = :noon").bindparams(noon=NOON))  # type: ignore[call-overload]  # sqlmodel's exec is typed for selects of models


def test_a_record_tells_what_became_of_a_job_and_nothing_of_its_contents(
    database_url: str,
) -> None:
    async def run() -> None:
        async with opened(database_url) as database:
            reading = JobRecords(database)
            job_id = await done(database, "ada")

            got = await reading.get(jobs.Get(job_id=job_id))

            assert got.job is not None
            assert (got.job.task, got.job.user_id) == ("bespoke.memories.get", "ada")
            assert (got.job.state, got.job.reason, got.redeliveries) == ("done", None, 0)
            assert datetime.now(UTC) - got.job.at < timedelta(minutes=5)
            assert SECRET not in got.model_dump_json()

    asyncio.run(run())


def test_another_users_job_is_not_there(database_url: str) -> None:
    async def run() -> None:
        async with opened(database_url) as database:
            reading = JobRecords(database)
            job_id = await done(database, "ada")

            hers = await reading.get(jobs.Get(job_id=job_id, user_id="ada"))
            his = await reading.get(jobs.Get(job_id=job_id, user_id="bob"))
            nobodys = await reading.get(jobs.Get(job_id=uuid7()))

            assert hers.job is not None
            assert his == nobodys == jobs.Got(job=None)

    asyncio.run(run())


def test_a_parked_job_tells_how_often_it_came_again(database_url: str) -> None:
    async def run() -> None:
        job_id = uuid7()
        async with opened(database_url) as database:
            settings = Settings(max_deliveries=2)
            await deliveries.count(database, settings, str(job_id), "bespoke.memories.store")
            with pytest.raises(Parked):
                await deliveries.count(database, settings, str(job_id), "bespoke.memories.store")

            got = await JobRecords(database).get(jobs.Get(job_id=job_id))

            assert got.job is not None
            assert (got.job.state, got.redeliveries) == ("parked", 2)
            assert str(got.job.reason).startswith("parked: 2 workers died")

    asyncio.run(run())


def test_jobs_are_listed_page_by_page_what_ended_last_first(database_url: str) -> None:
    async def run() -> None:
        async with opened(database_url) as database:
            reading = JobRecords(database)
            made = [await done(database, user) for user in ("ada", "bob", "ada", "bob", "ada")]
            await end_together(database)

            seen, after = [], None
            while True:
                page = await reading.list(jobs.List(limit=2, after=after))
                seen += [job.job_id for job in page.jobs]
                if page.next is None:
                    break
                after = page.next
            hers = await reading.list(jobs.List(user_id="ada"))

            assert seen == sorted(made, reverse=True)
            assert [job.job_id for job in hers.jobs] == sorted(made[::2], reverse=True)
            assert SECRET not in hers.model_dump_json()

    asyncio.run(run())


def test_only_jobs_without_an_effect_are_listed_as_failed(database_url: str) -> None:
    async def run() -> None:
        async with opened(database_url) as database:
            reading = JobRecords(database)
            await done(database, "ada")
            accepted = memories.Compact(user_id="ada")
            async with database.transaction() as session:
                await records.accept(session, accepted)
            failed = [
                await ended(database, "failed", "ada"),
                await ended(database, "parked"),
                await ended(database, "cancelled", "bob"),
            ]

            everybodys = await reading.list_failed(jobs.ListFailed())
            hers = await reading.list_failed(jobs.ListFailed(user_id="ada"))
            last = await reading.list_failed(jobs.ListFailed(limit=1))
            rest = await reading.list_failed(jobs.ListFailed(after=last.next))

            assert {job.job_id for job in everybodys.jobs} == set(failed)
            assert [(job.job_id, job.reason) for job in hers.jobs] == [(failed[0], "it failed")]
            assert last.jobs + rest.jobs == everybodys.jobs

    asyncio.run(run())


AFTER = jobs.Cursor(at=datetime.now(UTC), job_id=uuid7())


@pytest.mark.parametrize(
    ("index", "statement"),
    [
        ("job_by_user", page("ada", None, 10)),
        ("job_by_user", page("ada", AFTER, 10)),
        ("job_by_finish", page(None, None, 10)),
        ("job_by_finish", page(None, AFTER, 10)),
        ("job_without_effect", page(None, None, 10).where(WITHOUT_EFFECT)),
        ("job_without_effect", page(None, AFTER, 10).where(WITHOUT_EFFECT)),
    ],
)
def test_a_page_is_read_from_an_index_in_order(
    database_url: str, index: str, statement: Select[Any]
) -> None:
    postgresql = dialect()  # type: ignore[no-untyped-call]  # bare in SQLAlchemy
    asked = statement.compile(dialect=postgresql, compile_kwargs={"literal_binds": True})

    async def run() -> None:
        async with opened(database_url) as database:
            async with database.autocommit() as connection:
                await connection.execute(text(MANY))
                await connection.execute(text("ANALYZE job"))
            plan = "\n".join(str(line[0]) for line in await rows(database, f"EXPLAIN {asked}"))

            assert f"using {index}" in plan
            assert "Sort" not in plan

    asyncio.run(run())


def test_old_records_go_page_by_page(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 1)
    aged = "UPDATE job SET finished_at = finished_at - interval '40 days' WHERE user_id = 'ada'"
    hold = text("SELECT FROM job WHERE id = :id FOR UPDATE")

    async def run() -> None:
        async with opened(database_url, pool_size=3) as database:
            old = [await done(database, "ada") for _ in range(3)]
            recent = await done(database, "bob")
            async with database.transaction() as session:
                await (await session.connection()).execute(text(aged))
            async with database.engine.connect() as other:
                await other.execute(hold, {"id": old[-1]})
                pruning = asyncio.create_task(Retention(database, Settings()).prune(SECONDS))
                await until_a_session_waits(database)
                left = await rows(database, "SELECT id FROM job")
                await other.rollback()
            await pruning
            assert len(left) == 2  # one is held, and what comes before it is gone for good
            assert await rows(database, "SELECT id FROM job") == [(recent,)]

    asyncio.run(run())
