"""Bring a database to the schema that this version of the workers needs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Misconfigured

_LOCK = 0x6265_7370  # any constant: two migrations at once would trip over each other


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate the database at ``url`` up to ``revision``; nothing happens if it is there.

    Raises Misconfigured or Transient where the database cannot be used.
    """
    asyncio.run(_run(url, lambda connection: _upgrade(connection, revision)))


def current(url: str) -> str | None:
    """Return the revision of the database at ``url``; None if it is empty."""
    found: list[str | None] = []
    asyncio.run(_run(url, lambda connection: found.append(_revision(connection))))
    return found[0]


def head() -> str:
    """Return the revision that this version of the workers needs."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    assert revision is not None
    return revision


async def require_current(database: Database) -> None:
    """Raise Misconfigured unless the database has the schema that this version needs."""
    async with database.autocommit() as connection:
        revision = await connection.run_sync(_revision)
    _require_known(revision)
    if revision != head():
        raise Misconfigured(
            f"the database is at revision {revision!r}, this version needs {head()!r}; "
            "run `bespoke migrate`"
        )


def config() -> Config:
    """Return Alembic's configuration; the migrations lie beside this file, in the wheel too."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return settings


async def _run(url: str, work: Callable[[Connection], object]) -> None:
    database = Database(url, pool_size=1)
    try:
        async with database.transaction() as session:
            connection = await session.connection()
            await connection.run_sync(work)
    finally:
        await database.close()


def _upgrade(connection: Connection, revision: str) -> None:
    # Changing a large table, or waiting for another migration, takes the time that it takes.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    _require_known(_revision(connection))
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)


def _require_known(revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise Misconfigured(
            f"the database is at revision {revision!r}, which this version does not know; "
            "install the version of bespoke-workers that migrated it, or a newer one"
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
