"""Workers of one version and a schema of another: no job fails for good."""

import pytest
from sqlalchemy import text

from bespoke_schemas.jobs import List
from bespoke_workers.database.engine import Database
from bespoke_workers.database.job_records import JobRecords
from bespoke_workers.errors import Transient, Unusable
from tests.integration.databases import opened, rows
from tests.integration.memory_workers import in_loop

TOLD = (
    "the database has another version's schema; run `bespoke migrate`, or start workers of the "
    "version that migrated it"
)
COUNTED = text("SELECT * FROM counted WHERE number >= 0")


async def change(database: Database, *statements: str) -> None:
    async with database.autocommit() as connection:
        for statement in statements:
            await connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement", ["SELECT comes_later FROM job", "SELECT comes_later(CAST('x' AS text))"]
)
@in_loop
async def test_a_job_waits_for_what_is_migrated_later(database_url: str, statement: str) -> None:
    async with opened(database_url) as database:
        with pytest.raises(Unusable) as refused:
            await rows(database, statement)
        assert str(refused.value) == TOLD
        with pytest.raises(Unusable) as refused:
            async with database.direct() as connection:
                await connection.execute(text(statement))
        assert str(refused.value) == TOLD


@in_loop
async def test_a_job_of_an_older_worker_waits_for_a_newer_one(database_url: str) -> None:
    async with opened(database_url) as database:
        listing = JobRecords(database)
        await listing.list(List())
        await change(database, "ALTER TABLE job RENAME COLUMN reason TO why")
        with pytest.raises(Unusable):
            await listing.list(List())


@pytest.mark.parametrize("way", ["direct", "session"])
@in_loop
async def test_a_job_whose_statement_was_prepared_before_a_migration_is_tried_again(
    database_url: str, way: str
) -> None:
    async with opened(database_url) as database, opened(database_url) as migrating:
        await change(
            migrating, "CREATE TABLE counted (number int)", "INSERT INTO counted VALUES (1)"
        )
        assert await read(database, way) == [(1,)]
        await change(migrating, "ALTER TABLE counted ADD COLUMN more int")
        with pytest.raises(Transient):
            await read(database, way)
        assert await read(database, way) == [(1, None)]


async def read(database: Database, way: str) -> list[tuple[object, ...]]:
    if way == "direct":
        async with database.direct_transaction() as connection:
            return [tuple(row) for row in (await connection.execute(COUNTED)).all()]
    async with database.transaction() as session:
        found = await (await session.connection()).execute(COUNTED)
        return [tuple(row) for row in found.all()]
