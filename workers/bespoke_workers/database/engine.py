"""One asyncpg engine for each worker process, made in the process that uses it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.errors import Misconfigured, Transient

STATEMENT_TIMEOUT_MS = 60_000
"""No statement of a job may hang longer; long work is cut into pages."""

UNDEFINED_TABLE = "42P01"
TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57014"})
"""Serialization failure, deadlock, lock not available, shutdowns, statement timeout."""
TRANSIENT_CLASSES = frozenset({"08", "53"})
"""Connection exceptions and insufficient resources."""


class Database:
    """The engine and what is opened on it. Not to be used across a fork."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=False,
            # An error's text would otherwise hold the statement's parameters: contents.
            hide_parameters=True,
            connect_args={
                "timeout": 10,
                "server_settings": {
                    "application_name": "bespoke",
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "timezone": "UTC",
                },
            },
        )
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a session whose work is committed at the end, or none of it."""
        with translated():
            session = AsyncSession(self.engine, expire_on_commit=False)
            async with session, session.begin():
                yield session

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection on which each statement is a transaction of its own."""
        with translated():
            async with self._autocommit.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """Raise the database's failures as ours: Transient, or Misconfigured with what to set."""
    try:
        yield
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
        raise Misconfigured(
            "BESPOKE_DATABASE_URL: the database refused the user or the password; correct them"
        ) from None
    except asyncpg.InvalidCatalogNameError:
        raise Misconfigured(
            "BESPOKE_DATABASE_URL: no such database on that server; create it or correct the name"
        ) from None
    except DBAPIError as error:
        raise _translate(error) from error
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
        raise Transient(
            f"BESPOKE_DATABASE_URL: the database cannot be reached ({type(error).__name__}); "
            "start it, correct the URL, or run `bespoke up`"
        ) from error


def _translate(error: DBAPIError) -> Exception:
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    if sqlstate == UNDEFINED_TABLE:
        return Misconfigured("the database is not migrated; run `bespoke migrate`")
    transient = sqlstate in TRANSIENT_STATES or sqlstate[:2] in TRANSIENT_CLASSES
    if transient or error.connection_invalidated or isinstance(error, InterfaceError):
        return Transient(f"the database failed: {type(error.orig).__name__}")
    if isinstance(error, OperationalError):
        return Transient(f"the database failed: {type(error.orig).__name__}")
    return error
