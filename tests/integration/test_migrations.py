"""The database gets from nothing, and from every version before, to what the tables say."""

import threading
from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

from bespoke_workers.database import migrate, tables
from bespoke_workers.errors import Misconfigured
from tests.integration.databases import opened, rows
from tests.integration.memory_workers import in_loop
from tests.nodes.waiting import SECONDS

REVISIONS = [
    script.revision for script in ScriptDirectory.from_config(migrate.config()).walk_revisions()
][::-1]
BEFORE_COLUMNS = REVISIONS[REVISIONS.index("0021") - 1]
MOMENT = "2025-01-02 03:04:05.678901+00"


def test_an_empty_database_gets_the_newest_schema(empty_database_url: str) -> None:
    assert migrate.current(empty_database_url) is None

    migrate.upgrade(empty_database_url)

    assert migrate.current(empty_database_url) == migrate.head() == REVISIONS[-1]
    assert differences(empty_database_url) == []


def test_each_version_before_gets_the_newest_schema(empty_database_url: str) -> None:
    # Each is stopped at; from the first one to the last in one go is the test above.
    for revision in REVISIONS:
        migrate.upgrade(empty_database_url, revision)
        assert migrate.current(empty_database_url) == revision

    assert migrate.current(empty_database_url) == migrate.head()
    assert differences(empty_database_url) == []


def test_migrating_twice_is_as_once(database_url: str) -> None:
    before = described(database_url)

    migrate.upgrade(database_url)

    assert described(database_url) == before
    assert migrate.current(database_url) == migrate.head()


def test_the_migrated_schema_is_what_the_tables_say(database_url: str) -> None:
    assert differences(database_url) == []


def test_every_table_is_declared_in_one_place(database_url: str) -> None:
    declared = {table.name for table in SQLModel.metadata.tables.values()}

    assert declared >= {"job", "memory", "memory_archive", "program_version", "optimization_job"}
    assert all(
        getattr(tables, mapper.class_.__name__) is mapper.class_
        for mapper in SQLModel._sa_registry.mappers
        if mapper.class_.__module__.startswith("bespoke_workers")
    )


def test_two_migrations_at_the_same_time_are_as_one(empty_database_url: str) -> None:
    together = threading.Barrier(2)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            together.wait(SECONDS)
            migrate.upgrade(empty_database_url)
        except BaseException as error:  # noqa: BLE001  # told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    assert failures == []
    assert migrate.current(empty_database_url) == migrate.head()
    assert differences(empty_database_url) == []


def test_a_migration_that_fails_leaves_the_schema_as_it_was(empty_database_url: str) -> None:
    execute(empty_database_url, "CREATE TABLE program_version (mine int)")

    with pytest.raises(Exception, match="DuplicateTableError"):
        migrate.upgrade(empty_database_url)

    assert migrate.current(empty_database_url) is None
    assert described(empty_database_url) == ["program_version.mine"]


@in_loop
async def test_an_unmigrated_database_is_refused_with_what_to_do(empty_database_url: str) -> None:
    async with opened(empty_database_url) as database:
        with pytest.raises(Misconfigured) as refused:
            await migrate.require_current(database)

    assert str(refused.value) == (
        f"the database is at revision None, this version needs {migrate.head()!r}; "
        "run `bespoke migrate`"
    )


def test_a_database_of_a_newer_version_is_left_alone(database_url: str) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(Misconfigured) as refused:
        migrate.upgrade(database_url)

    assert str(refused.value).startswith("the database is at revision '9999', which this version")
    assert migrate.current(database_url) == "9999"


@in_loop
async def test_a_worker_of_an_older_version_does_not_start(database_url: str) -> None:
    async with opened(database_url) as database:
        await migrate.require_current(database)
        async with database.transaction() as session:
            await (await session.connection()).execute(
                text("UPDATE alembic_version SET version_num = '9999'")
            )
        with pytest.raises(Misconfigured, match="a newer one"):
            await migrate.require_current(database)


@in_loop
async def test_embeddings_stay_in_their_rows(database_url: str) -> None:
    async with opened(database_url) as database:
        storage = await rows(
            database,
            "SELECT attstorage FROM pg_attribute "
            "WHERE attrelid = 'memory'::regclass AND attname = 'embedding'",
        )

    assert storage == [(b"m",)]


def test_a_migration_waits_for_as_long_as_another_takes(empty_database_url: str) -> None:
    limits: list[str] = []

    def look(connection: Connection) -> None:
        migrate._upgrade(connection, "head")
        limits.append(connection.execute(text("SHOW statement_timeout")).scalar_one())

    connected(empty_database_url, look)

    assert limits == ["0"]


def test_what_is_in_the_archive_is_there_in_columns(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, BEFORE_COLUMNS)
    execute(
        empty_database_url,
        """
        INSERT INTO memory_archive (id, memory_id, user_id, reason, run_id, memory, embedding,
            removed_version)
        SELECT gen_random_uuid(), gen_random_uuid(), 'ada', 'size', gen_random_uuid(),
            jsonb_build_object('content', 'Has a cat', 'kind', 'fact', 'tags', tags,
                'meta', meta, 'facts', 'not1', 'version', 4, 'access_count', 3,
                'last_accessed_at', at, 'created_at', CAST('2025-01-02T03:04:05.678901Z' AS
                timestamptz), 'updated_at', now(), 'renewed_at', NULL), '', 5
        FROM (VALUES (ARRAY['a', 'b'], CAST('{"page": {"of": 3}}' AS jsonb), now()),
            (CAST('{}' AS text[]), CAST('{}' AS jsonb), NULL)) AS given (tags, meta, at)
        """.replace(":", r"\:"),
    )

    migrate.upgrade(empty_database_url)

    assert shown(
        empty_database_url,
        "SELECT content, kind, tags, meta, facts, access_count, last_accessed_at IS NULL, "
        "CAST(created_at AS text), updated_at IS NULL, renewed_at, removed_version "
        "FROM memory_archive ORDER BY tags DESC",
    ) == [
        ("Has a cat", "fact", tags, meta, "not1", 3, is_unread, MOMENT, False, None, 5)
        for tags, meta, is_unread in ((["a", "b"], {"page": {"of": 3}}, False), ([], {}, True))
    ]


def differences(url: str) -> list[object]:
    """Return what Alembic would have to change to get from the database to the tables."""
    found: list[object] = []

    def compare(connection: Connection) -> None:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found.extend(compare_metadata(context, SQLModel.metadata))

    connected(url, compare)
    return found


def described(url: str) -> list[str]:
    """Return every column of the schema."""
    found: list[str] = []

    def look(connection: Connection) -> None:
        columns = connection.execute(
            text(
                "SELECT table_name || '.' || column_name FROM information_schema.columns "
                "WHERE table_schema = 'public' ORDER BY 1"
            )
        )
        found.extend(columns.scalars())

    connected(url, look)
    return found


def shown(url: str, statement: str) -> list[tuple[object, ...]]:
    """Return what a query finds."""
    found: list[tuple[object, ...]] = []

    def look(connection: Connection) -> None:
        found.extend(tuple(row) for row in connection.execute(text(statement)))

    connected(url, look)
    return found


def execute(url: str, statement: str) -> None:
    connected(url, lambda connection: connection.execute(text(statement)))


@in_loop
async def connected(url: str, work: Callable[[Connection], object]) -> None:
    async with opened(url) as database, database.transaction() as session:
        await (await session.connection()).run_sync(work)
