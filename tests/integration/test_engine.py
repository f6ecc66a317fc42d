"""The database's failures are told in one line that holds no password and no contents."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import insert as insert_into
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bespoke_schemas import uuid7
from bespoke_workers.database.engine import STATEMENT_TIMEOUT_MS, Database
from bespoke_workers.database.tables import Job
from bespoke_workers.errors import Misconfigured, Transient
from bespoke_workers.local import LocalPostgres
from tests.databases import Databases
from tests.integration.databases import opened, rows
from tests.integration.memory_workers import in_loop
from tests.nodes.waiting import wait_until

PASSWORD = "hunter2-the-password"
SECRET = "my-secret-diagnosis"
GUEST = "guest"


@pytest.fixture
def guest(postgres_server: LocalPostgres, databases: Databases) -> Iterator[str]:
    """A user whom the server asks for a password, and who may hold one connection."""
    databases.administer(f"CREATE USER {GUEST} PASSWORD '{PASSWORD}'")
    ((found,),) = asyncio.run(ask(postgres_server.url_for("postgres"), "SHOW hba_file"))
    path = Path(str(found))
    rules = path.read_text()
    path.write_text(f"local all {GUEST} scram-sha-256\n{rules}")
    databases.administer("SELECT pg_reload_conf()")
    wrong = as_guest(postgres_server, "wrong")
    wait_until(lambda: isinstance(failure(wrong), Misconfigured), "passwords are asked for")
    # A session that was let in before that may still be on its way out, and would count.
    there = f"SELECT 1 FROM pg_stat_activity WHERE usename = '{GUEST}'"
    own = postgres_server.url_for("postgres")
    wait_until(lambda: not asyncio.run(ask(own, there)), "the guest is gone")
    databases.administer(f"ALTER USER {GUEST} CONNECTION LIMIT 1")
    yield GUEST
    path.write_text(rules)
    databases.administer("SELECT pg_reload_conf()", f"DROP USER {GUEST}")


def as_guest(server: LocalPostgres, password: str) -> str:
    return server.url_for("postgres").replace("postgres@", f"{GUEST}:{password}@", 1)


async def ask(url: str, statement: str = "SELECT 1") -> list[tuple[object, ...]]:
    async with opened(url) as database:
        return await rows(database, statement)


def failure(url: str, statement: str = "SELECT 1") -> Exception | None:
    """Return how asking the database at ``url`` fails, after a look at the text."""
    try:
        asyncio.run(ask(url, statement))
    except (Misconfigured, Transient) as error:
        told = error
    else:
        return None
    assert "\n" not in str(told)
    assert PASSWORD not in str(told)
    return told


def test_the_right_password_is_let_in(postgres_server: LocalPostgres, guest: str) -> None:
    assert asyncio.run(ask(as_guest(postgres_server, PASSWORD), "SELECT current_user")) == [
        (guest,)
    ]


def test_a_wrong_password_is_a_wrong_setting(postgres_server: LocalPostgres, guest: str) -> None:
    refused = failure(as_guest(postgres_server, f"not-{PASSWORD}"))

    assert isinstance(refused, Misconfigured)
    assert str(refused) == (
        "BESPOKE_DATABASE_URL: the database refused the user or the password; correct them"
    )


@pytest.mark.usefixtures("guest")
def test_too_many_connections_pass(postgres_server: LocalPostgres) -> None:
    @in_loop
    async def hold_one_and_ask_for_another() -> None:
        url = as_guest(postgres_server, PASSWORD)
        async with opened(url) as first, first.autocommit(), opened(url) as second:
            with pytest.raises(Transient, match="TooManyConnections"):
                await rows(second, "SELECT 1")

    hold_one_and_ask_for_another()


def test_an_unknown_user_is_a_wrong_setting(postgres_server: LocalPostgres) -> None:
    refused = failure(postgres_server.url.replace("postgres@", f"nobody:{PASSWORD}@", 1))

    assert isinstance(refused, Misconfigured)
    assert "refused the user or the password" in str(refused)


def test_an_unknown_database_is_a_wrong_setting(postgres_server: LocalPostgres) -> None:
    refused = failure(postgres_server.url_for("nowhere"))

    assert isinstance(refused, Misconfigured)
    assert str(refused) == (
        "BESPOKE_DATABASE_URL: no such database on that server; create it or correct the name"
    )


@pytest.mark.parametrize("where", ["port", "socket"])
def test_no_server_may_pass(where: str, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens
        port = nobody.getsockname()[1]
        url = {
            "port": f"postgresql+asyncpg://ada:{PASSWORD}@127.0.0.1:{port}/db",
            "socket": f"postgresql+asyncpg://ada:{PASSWORD}@/db?host={tmp_path}",
        }[where]
        away = failure(url)

    assert isinstance(away, Transient)
    assert str(away).startswith("BESPOKE_DATABASE_URL: the database cannot be reached (")
    assert str(away).endswith("start it, correct the URL, or run `bespoke up`")


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("host:port/db", "not a URL"),
        ("host/db?sslmode=require", "asyncpg knows no parameter 'sslmode'; remove it"),
        ("host/db?ssl=perhaps", "asyncpg refuses one of its parameters"),
    ],
)
def test_a_url_that_leads_nowhere_is_a_wrong_setting(rest: str, told: str) -> None:
    refused = failure(f"postgresql+asyncpg://ada:{PASSWORD}@{rest}")

    assert isinstance(refused, Misconfigured)
    assert str(refused).startswith(f"BESPOKE_DATABASE_URL: {told}")


def test_an_unmigrated_database_is_told_with_what_to_do(empty_database_url: str) -> None:
    refused = failure(empty_database_url, "SELECT * FROM job")

    assert isinstance(refused, Misconfigured)
    assert str(refused) == "the database is not migrated; run `bespoke migrate`"


@in_loop
async def test_a_connection_that_was_cut_may_pass_and_the_next_one_works(database_url: str) -> None:
    async with opened(database_url) as database, opened(database_url) as other:

        async def be_cut() -> None:
            async with database.transaction() as session:
                connection = await session.connection()
                pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
                await rows(other, f"SELECT pg_terminate_backend({pid})")
                await connection.execute(text("SELECT 1"))

        with pytest.raises(Transient) as cut:
            await be_cut()
        assert str(cut.value).startswith("the database failed: ")
        assert await rows(database, "SELECT 1") == [(1,)]


@in_loop
async def test_a_server_that_was_restarted_is_found_again(
    postgres_server: LocalPostgres, database_url: str
) -> None:
    async with opened(database_url) as database:
        assert await rows(database, "SELECT 1") == [(1,)]
        await asyncio.to_thread(postgres_server.restart)
        with pytest.raises(Transient):
            await rows(database, "SELECT 1")

        assert await rows(database, "SELECT 1") == [(1,)]


@in_loop
async def test_a_statement_that_hangs_is_ended_and_may_pass(database_url: str) -> None:
    async with opened(database_url) as database:
        assert await rows(database, "SHOW statement_timeout") == [
            (f"{STATEMENT_TIMEOUT_MS // 60_000}min",)
        ]

        async def hang() -> None:
            async with database.transaction() as session:
                connection = await session.connection()
                await connection.execute(text("SET LOCAL statement_timeout = 20"))
                await connection.execute(text("SELECT pg_sleep(60)"))

        with pytest.raises(Transient, match="QueryCanceledError"):
            await hang()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("INSERT INTO job (id, task) VALUES (gen_random_uuid(), :secret)", "NotNullViolationError"),
        ("SELECT CAST(CAST(:secret AS text) AS uuid)", "InvalidTextRepresentationError"),
        ("SELECT CAST(:secret AS int)", "DataError"),
        ("SELECT :secret FROM nothing AT ALL", "PostgresSyntaxError"),
    ],
)
@in_loop
async def test_the_text_of_a_failed_statement_holds_no_parameters(
    database_url: str, statement: str, kind: str
) -> None:
    async with opened(database_url) as database:
        with pytest.raises(DBAPIError) as failed:
            async with database.autocommit() as connection:
                await connection.execute(text(statement), {"secret": SECRET})

        assert kind in str(failed.value)
        assert SECRET not in str(failed.value)
        assert SECRET not in repr(failed.value)


@in_loop
async def test_a_row_that_exists_is_not_shown_either(database_url: str) -> None:
    job_id = uuid7()

    async def insert(database: Database) -> None:
        async with database.transaction() as session:
            await session.exec(
                insert_into(Job).values(id=job_id, task=SECRET, user_id=SECRET, state="done")
            )

    async with opened(database_url) as database:
        await insert(database)
        with pytest.raises(DBAPIError, match="UniqueViolationError") as failed:
            await insert(database)

        assert SECRET not in str(failed.value)
        assert str(job_id) not in str(failed.value)


@in_loop
async def test_a_transaction_is_all_or_nothing(database_url: str) -> None:
    async with opened(database_url) as database:

        async def fail_late() -> None:
            async with database.transaction() as session:
                await session.exec(insert_into(Job).values(id=uuid7(), task="a", state="done"))
                raise KeyError

        with pytest.raises(KeyError):
            await fail_late()

        assert await rows(database, "SELECT * FROM job") == []


@in_loop
async def test_an_engine_holds_as_many_connections_as_its_pool(database_url: str) -> None:
    async with opened(database_url, pool_size=3) as database:
        await asyncio.gather(*(rows(database, "SELECT pg_sleep(0.01)") for _ in range(9)))
        mine = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'bespoke'"
        )

        assert await rows(database, mine) == [(3,)]


@in_loop
async def test_a_connection_that_does_not_become_free_may_pass(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database_url, pool_size=1) as database:
        monkeypatch.setattr(database.engine.pool, "_timeout", 0.05)  # seconds
        async with database.transaction() as session:
            await session.connection()
            for opening in (database.autocommit, database.direct):
                with pytest.raises(Transient, match="no connection to it became free"):
                    async with opening() as other:
                        await other.execute(text("SELECT 1"))


@in_loop
async def test_times_are_in_utc(database_url: str) -> None:
    async with opened(database_url) as database:
        ((moment,),) = await rows(database, "SELECT now()")

        assert moment.utcoffset().total_seconds() == 0


def test_the_url_of_a_local_server_needs_no_network(postgres_server: LocalPostgres) -> None:
    parts = urlsplit(postgres_server.url)

    assert parts.hostname is None
    assert Path(parse_qs(parts.query)["host"][0]).is_dir()
