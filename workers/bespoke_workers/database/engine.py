"""One asyncpg engine for each worker process, made in the process that uses it."""

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.database.direct import Direct, Lines
from bespoke_workers.errors import BespokeError, Misconfigured, Refused, Transient, Unusable

STATEMENT_TIMEOUT_MS = 60_000
"""No statement of a job may hang longer; long work is cut into pages."""

_REFUSED = "BESPOKE_DATABASE_URL: the database refused the user or the password; correct them"
_OTHER_SCHEMA = (
    "the database has another version's schema; run `bespoke migrate`, or start workers of the "
    "version that migrated it"
)
WRONG_SETTINGS = {
    "28P01": _REFUSED,
    "28000": _REFUSED,
    "3D000": (
        "BESPOKE_DATABASE_URL: no such database on that server; create it or correct the name"
    ),
    "42P01": "the database is not migrated; run `bespoke migrate`",
    "42703": _OTHER_SCHEMA,
    "42883": _OTHER_SCHEMA,
}
"""Wrong password, unknown user, unknown database; unknown table, column, function."""
UNREACHABLE_STATES = frozenset({"57P03", "08001", "08004"})
"""The server starts or stops; the connection was not made, or was rejected."""
TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57014"})
"""Serialization failure, deadlock, lock not available, shutdowns, statement timeout."""
TRANSIENT_CLASSES = frozenset({"08", "53"})
"""Connection exceptions and insufficient resources."""
ERASED, BEING_ERASED = "BS001", "BS002"
"""What the database's function ``admitted`` raises about a job of an erased user."""

LEAST_TO_KEEP = 3
"""Connections of a pool from which one may stay taken: a job's session may need a second one."""


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
        self._lines = Lines(self.engine, kept=1 if pool_size >= LEAST_TO_KEEP else 0)
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[AsyncSession]:
        """Open a session whose work is committed at the end, or none of it.

        With a ``snapshot``, all of its statements read what there was at the first of them.
        """
        with translated():
            session = AsyncSession(self.engine, expire_on_commit=False)
            async with session, session.begin():
                if snapshot:
                    options = {"isolation_level": "REPEATABLE READ"}
                    await session.connection(execution_options=options)
                yield session

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection on which each statement is a transaction of its own."""
        with translated():
            async with self._autocommit.connect() as connection:
                yield connection

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[Direct]:
        """Take a connection past SQLAlchemy: each statement is a transaction of its own."""
        with translated():
            async with self._lines.taken() as connection:
                yield Direct(connection)

    @asynccontextmanager
    async def direct_transaction(self) -> AsyncIterator[Direct]:
        """Open a transaction past SQLAlchemy that is committed at the end, or none of it."""
        with translated():
            async with self._lines.begun() as connection:
                yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self._lines.give_back()
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
    """Raise the database's failures as ours: Transient, or Unusable with what to set.

    What remains is a bug; its text is cut down to its kind, as PostgreSQL quotes rows in it.
    """
    try:
        yield
    except (
        DBAPIError,
        AsyncAdapt_asyncpg_dbapi.Error,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        NoConnectionFree,
        OSError,
    ) as error:
        ours = _translate(error)
        if ours is None:
            error.args = (type(_cause(error)).__name__,)
            if isinstance(error, asyncpg.PostgresError):
                vars(error).clear()  # its detail quotes the row
            raise error from None
        raise ours from None


def _translate(error: Exception) -> BespokeError | None:
    cause = _cause(error)
    kind, sqlstate = type(cause).__name__, getattr(cause, "sqlstate", None) or ""
    if sqlstate in WRONG_SETTINGS:
        return Unusable(WRONG_SETTINGS[sqlstate])
    if isinstance(cause, asyncpg.exceptions.ClientConfigurationError):
        return Unusable(
            "BESPOKE_DATABASE_URL: asyncpg refuses one of its parameters; correct or remove them"
        )
    if isinstance(cause, OSError) or sqlstate in UNREACHABLE_STATES:
        return Transient(
            f"BESPOKE_DATABASE_URL: the database cannot be reached ({kind}); "
            "start it, correct the URL, or run `bespoke up`"
        )
    if isinstance(cause, NoConnectionFree):
        return Transient("the database is slow: no connection to it became free in time")
    if isinstance(cause, asyncpg.InvalidCachedStatementError):
        return Transient("the database was migrated meanwhile")
    if sqlstate == ERASED:
        return Refused(
            "the user was erased after this job was made, or is being erased; "
            "to begin anew, enqueue a new one once the erasure has answered"
        )
    if sqlstate == BEING_ERASED:
        return Transient("the user is being erased; the job is done after that")
    passes = sqlstate in TRANSIENT_STATES or sqlstate[:2] in TRANSIENT_CLASSES
    cut_off = isinstance(error, DBAPIError) and error.connection_invalidated
    if passes or cut_off or isinstance(error, InterfaceError | OperationalError):
        return Transient(f"the database failed: {kind}")
    return None


def _cause(error: Exception) -> BaseException:
    """Return asyncpg's own error; SQLAlchemy wraps it twice, or once, or not at all."""
    wrapped = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(wrapped, AsyncAdapt_asyncpg_dbapi.Error):
        return wrapped.__cause__ or wrapped
    return wrapped or error
