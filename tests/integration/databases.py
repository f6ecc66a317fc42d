"""Opening a test's database, for tests of the database itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from bespoke_workers.database.engine import Database


@asynccontextmanager
async def opened(url: str, *, pool_size: int = 2) -> AsyncIterator[Database]:
    """Open an engine as a worker process does, and close it."""
    database = Database(url, pool_size=pool_size)
    try:
        yield database
    finally:
        await database.close()


async def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    """Return what a query finds."""
    async with database.autocommit() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]
