"""One asyncpg engine for each worker process, made in the process that uses it."""

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.errors import BespokeError, Misconfigured, Transient

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
            _parsed(url),
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


def _parsed(url: str) -> URL:
    """Parse the database's URL; raises Misconfigured where nobody could connect to it."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise Misconfigured(
            "BESPOKE_DATABASE_URL: not a URL; set it to postgresql+asyncpg://user:password@host/db"
        ) from None
    unknown = set(parsed.query) - set(inspect.signature(asyncpg.connect).parameters)
    if unknown:
        raise Misconfigured(
            f"BESPOKE_DATABASE_URL: asyncpg knows no parameter {min(unknown)!r}; "
            "remove it (for sslmode=… write ssl=…)"
        )
    return parsed


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
    except asyncpg.exceptions.ClientConfigurationError:
        raise Misconfigured(
            "BESPOKE_DATABASE_URL: asyncpg refuses one of its parameters; correct or remove them"
        ) from None
    except DBAPIError as error:
        ours = _translate(error)
        if ours is None:
            raise
        raise ours from None
    except asyncpg.PostgresError as error:
        # SQLAlchemy does not wrap what happens while a connection is being made.
        if not _passes(error.sqlstate):
            raise
        raise _away(error) from None
    except OSError as error:
        raise _away(error) from None


def _translate(error: DBAPIError) -> BespokeError | None:
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate == UNDEFINED_TABLE:
        return Misconfigured("the database is not migrated; run `bespoke migrate`")
    if (
        _passes(sqlstate)
        or error.connection_invalidated
        or isinstance(error, InterfaceError | OperationalError)
    ):
        return Transient(f"the database failed: {type(error.orig).__name__}")
    return None


def _passes(sqlstate: str | None) -> bool:
    state = sqlstate or ""
    return state in TRANSIENT_STATES or state[:2] in TRANSIENT_CLASSES


def _away(error: Exception) -> Transient:
    return Transient(
        f"BESPOKE_DATABASE_URL: the database cannot be reached ({type(error).__name__}); "
        "start it, correct the URL, or run `bespoke up`"
    )
