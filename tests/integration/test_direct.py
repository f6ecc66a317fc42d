"""Statements past SQLAlchemy: the same pool, the same failures, the same rows."""

import asyncio
import os
import signal
from datetime import timedelta

import pytest
from sqlalchemy import ARRAY, Interval, Uuid, any_, bindparam, func, insert, text, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import uuid7
from bespoke_workers.database.direct import Taken
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Job
from bespoke_workers.errors import Transient
from bespoke_workers.local import LocalPostgres
from bespoke_workers.memories.statements import statement
from tests.integration.databases import opened, rows
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import until
from tests.nodes.waiting import SECONDS

SECRET = "my-secret-diagnosis"
MILLISECONDS = int(SECONDS * 1000)
PID = text("SELECT pg_backend_pid() AS pid")
HANG = text(f"SELECT pg_sleep({SECONDS})")
INSERT = statement("INSERT INTO job (id, task, state) VALUES (:id, :task, 'done')")
FAILING = statement("INSERT INTO job (id, task, state) VALUES (:id, :task, NULL)")


async def pid(database: Database) -> int:
    async with database.direct() as connection:
        return int((await connection.execute(PID)).one().pid)


async def pid_in(session: AsyncSession) -> int:
    connection = await session.connection()
    return int((await connection.execute(PID)).one().pid)


async def cut(database: Database, pid: int) -> None:
    await rows(database, f"SELECT pg_terminate_backend({pid}, {MILLISECONDS})")


@in_loop
async def test_columns_are_attributes_and_parameters_go_by_name(database_url: str) -> None:
    async with opened(database_url) as database, database.direct() as connection:
        sought = statement("SELECT :task AS task, :id AS id, CAST('[1]' AS jsonb) AS listed")
        job_id = uuid7()
        row = (await connection.execute(sought, {"id": job_id, "task": "a", "more": 1})).one()
        assert (row.task, row.id, row.listed) == ("a", job_id, [1])
        with pytest.raises(AttributeError, match="unknown"):
            row.unknown  # noqa: B018  # that it raises is what is tested
        nothing = await connection.execute(text("SELECT 1 WHERE false"))
        assert (nothing.first(), list(nothing.all())) == (None, [])


@in_loop
async def test_statements_of_sqlalchemy_pass_with_values_that_are_known_and_given(
    database_url: str,
) -> None:
    kept = insert(Job).values(
        id=bindparam("job_id"), task=bindparam("task"), state="done", result=bindparam("result")
    )
    found = select(Job.id, Job.result).where(
        col(Job.task) == bindparam("task"),
        col(Job.state) == "done",
        col(Job.finished_at) > func.now() - bindparam("ago", type_=Interval()),
    )
    aged = (
        update(Job)
        .where(col(Job.id) == any_(bindparam("ids", type_=ARRAY(Uuid()))))
        .values(finished_at=func.now() - bindparam("ago", type_=Interval()))
        .returning(col(Job.task))
    )
    one, other = uuid7(), uuid7()
    async with opened(database_url) as database, database.direct() as connection:
        for job_id, result in ((one, '{"a": [1]}'), (other, None)):
            given = {"job_id": job_id, "task": "a", "result": result}
            await connection.execute(kept, given)
        with pytest.raises(Taken):
            await connection.execute(kept, {"job_id": one, "task": "b", "result": None})
        old = await connection.execute(aged, {"ids": [other], "ago": timedelta(hours=2)})
        assert [row.task for row in old.all()] == ["a"]
        row = (await connection.execute(found, {"task": "a", "ago": timedelta(hours=1)})).one()
        assert (row.id, row.result) == (one, {"a": [1]})
        with pytest.raises(KeyError, match="ago"):
            await connection.execute(found, {"task": "a"})


@in_loop
async def test_each_statement_is_committed_and_a_transaction_is_all_or_nothing(
    database_url: str,
) -> None:
    async with opened(database_url) as database:

        async def fail_late() -> None:
            async with database.direct() as connection:
                await connection.execute(INSERT, {"id": uuid7(), "task": "alone"})
            async with database.direct_transaction() as connection:
                await connection.execute(INSERT, {"id": uuid7(), "task": "undone"})
                raise KeyError

        with pytest.raises(KeyError):
            await fail_late()
        async with database.direct_transaction() as connection:
            await connection.execute(INSERT, {"id": uuid7(), "task": "together"})
        assert await rows(database, "SELECT task FROM job ORDER BY task") == [
            ("alone",),
            ("together",),
        ]


@in_loop
async def test_a_key_that_is_taken_is_told_without_the_row(database_url: str) -> None:
    parameters = {"id": uuid7(), "task": SECRET}
    async with opened(database_url) as database:
        async with database.direct() as connection:
            await connection.execute(INSERT, parameters)
        with pytest.raises(Taken, match=r"^there is a row under this key already$"):
            async with database.direct() as connection:
                await connection.execute(INSERT, parameters)


@in_loop
async def test_a_failed_statement_shows_no_row(database_url: str) -> None:
    async with opened(database_url) as database:
        with pytest.raises(Exception, match=r"^NotNullViolationError$") as failed:
            async with database.direct() as connection:
                await connection.execute(FAILING, {"id": uuid7(), "task": SECRET})
        shown = (str(failed.value), repr(failed.value), str(vars(failed.value)))
        assert not any(SECRET in one for one in shown)


@pytest.mark.parametrize("when", ["before a statement", "while one runs"])
@in_loop
async def test_a_connection_that_is_cut_may_pass(database_url: str, when: str) -> None:
    async with opened(database_url) as database, opened(database_url) as other:

        async def be_cut() -> None:
            async with database.direct_transaction() as connection:
                held = (await connection.execute(PID)).one().pid
                if when == "before a statement":
                    await cut(other, held)
                    await connection.execute(PID)
                killing = asyncio.create_task(cut(other, held))
                try:
                    await connection.execute(HANG)
                finally:
                    await killing

        with pytest.raises(Transient, match="the database failed"):
            await be_cut()
        assert await pid(database) > 0


@in_loop
async def test_a_connection_that_was_cut_in_the_pool_is_not_used(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database, opened(database_url) as other:
        before = await pid(database)
        await cut(other, before)
        for _ in range(5):
            await asyncio.sleep(0)  # the loop sees that the socket is closed, and says so
        assert await pid(database) != before


@in_loop
async def test_a_server_that_is_away_may_pass(
    postgres_server: LocalPostgres, database_url: str
) -> None:
    async with opened(database_url) as database:
        assert await pid(database) > 0
        await asyncio.to_thread(postgres_server.stop)
        try:
            with pytest.raises(Transient):
                await pid(database)
        finally:
            await asyncio.to_thread(postgres_server.start)
        assert await pid(database) > 0


@in_loop
async def test_a_server_that_dies_and_starts_again_may_pass_at_every_moment(
    postgres_server: LocalPostgres, database_url: str
) -> None:
    ended, passed = asyncio.Event(), [0] * 4

    async def use(database: Database, number: int) -> None:
        opening = database.direct_transaction if number % 2 else database.direct
        while not ended.is_set():
            try:
                async with opening() as connection:
                    await connection.execute(text("SELECT pg_sleep(0.001)"))
                    await connection.execute(PID)
            except Transient:
                passed[number] += 1
                await asyncio.sleep(0)  # a socket that is not there is refused without a wait

    async def all_failed() -> bool:
        return min(passed) > 0

    async with opened(database_url, pool_size=10) as database:
        users = [asyncio.create_task(use(database, number)) for number in range(4)]
        try:
            await pid(database)
            await asyncio.to_thread(postgres_server.kill)
            await until(all_failed)
        finally:
            await asyncio.to_thread(postgres_server.start)
        await pid(database)
        ended.set()
        await asyncio.gather(*users)  # none of them met anything but what may pass


@in_loop
async def test_a_transaction_that_was_cancelled_leaves_the_connection_usable(
    database_url: str,
) -> None:
    async with opened(database_url, pool_size=1) as database:
        begun = asyncio.Event()

        async def hang() -> None:
            async with database.direct_transaction() as connection:
                await connection.execute(INSERT, {"id": uuid7(), "task": "undone"})
                begun.set()
                await connection.execute(HANG)

        hanging = asyncio.create_task(hang())
        await begun.wait()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert await pid(database) > 0
        assert await rows(database, "SELECT * FROM job") == []


@in_loop
async def test_a_transaction_that_was_cut_off_as_it_began_takes_nothing_of_the_next_job(
    database_url: str,
) -> None:
    async with opened(database_url, pool_size=3) as database, opened(database_url) as other:
        backend = await pid(database)  # whose connection is the one that is kept
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), database.direct_transaction():
                    pass
        finally:
            os.kill(backend, signal.SIGCONT)
        async with database.direct() as connection:
            await connection.execute(INSERT, {"id": uuid7(), "task": "alone"})
        assert await rows(other, "SELECT task FROM job") == [("alone",)]


@in_loop
async def test_one_connection_is_kept_and_leaves_sessions_the_rest(database_url: str) -> None:
    database = Database(database_url, pool_size=3)
    first = await pid(database)
    assert await pid(database) == first
    async with database.transaction() as one, database.transaction() as other:
        pids = {await pid_in(session) for session in (one, other)}
    assert len(pids) == 2
    assert first not in pids
    await database.close()


@in_loop
async def test_a_small_pool_keeps_nothing_back(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    first = await pid(database)
    async with database.transaction() as session:
        assert await pid_in(session) == first
    await database.close()
