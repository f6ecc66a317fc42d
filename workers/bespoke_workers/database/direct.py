"""Statements given to the driver itself, for work that is counted in tenths of a millisecond.

PostgreSQL is done with a small statement in a tenth of the time that SQLAlchemy takes to hand it
over. This is the one door past it: the same statements, on connections of the same pool.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import SelectBase, TextClause, UpdateBase
from sqlalchemy.dialects.postgresql import asyncpg as driver
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util.concurrency import greenlet_spawn

_DIALECT = driver.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


Statement = TextClause | SelectBase | UpdateBase
"""What is executed: of either kind, made once."""


class Taken(Exception):
    """There is a row under this key already."""

    def __init__(self) -> None:
        super().__init__("there is a row under this key already")


class Record(asyncpg.Record):  # type: ignore[misc]  # asyncpg has no types
    """A row whose columns are attributes, as SQLAlchemy's rows have them."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Answer:
    """The rows that a statement answered with, read as those of SQLAlchemy are."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def all(self) -> Sequence[Any]:
        """Return every row."""
        return self._rows

    def first(self) -> Any:
        """Return the first row, or None."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """Return the only row."""
        (row,) = self._rows
        return row


class Direct:
    """One connection of the pool, for statements that are made once, with named parameters.

    They are SQL with ``:name``, or SQLAlchemy's own with a ``bindparam`` for each value that is
    given; a list is an array and ``any_``, not ``in_``. What is made anew for each execution
    would be compiled anew.
    """

    def __init__(self, connection: Any) -> None:
        """Take asyncpg's own connection."""
        self._connection = connection

    async def execute(
        self, statement: Statement, parameters: Mapping[str, Any] | None = None
    ) -> Answer:
        """Execute a statement; raises Taken where it breaks a unique key."""
        sql, names, known = _compiled(statement)
        values = {**known, **parameters} if parameters else known
        given = [values[name] for name in names]
        try:
            return Answer(await self._connection.fetch(sql, *given, record_class=Record))
        except asyncpg.UniqueViolationError:
            raise Taken from None


Connection = AsyncConnection | Direct
"""What text statements are executed on: within a session, or past it."""


class Lines:
    """Connections of an engine's pool, taken past SQLAlchemy; up to ``kept`` stay taken.

    Taking one from the pool and giving it back costs as much as a small statement.
    """

    def __init__(self, engine: AsyncEngine, *, kept: int) -> None:
        self._engine = engine
        self._kept = kept
        self._idle: list[Any] = []

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[Any]:
        """Take asyncpg's own connection; each statement on it is a transaction."""
        pooled = self._idle.pop() if self._idle else await self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        while connection.is_closed():  # by the server, while it lay here or in the pool
            await greenlet_spawn(pooled.invalidate)
            pooled = await self._engine.raw_connection()
            connection = pooled.driver_connection
        try:
            yield connection
        except asyncpg.InterfaceError:
            if connection.is_closed():  # and what was tried on it since is no bug
                raise asyncpg.ConnectionDoesNotExistError from None
            raise
        finally:
            # A rollback that was cut off leaves a transaction open, which nobody may inherit.
            if connection.is_closed() or connection.is_in_transaction():
                await greenlet_spawn(pooled.invalidate)
            elif len(self._idle) < self._kept:
                self._idle.append(pooled)
            else:
                await greenlet_spawn(pooled.close)

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[Direct]:
        """Open a transaction that is committed at the end, or nothing of it."""
        async with self.taken() as connection:
            opened = connection.transaction()
            try:
                await opened.start()
            except BaseException:
                # A BEGIN that was cut off is done later, unseen: what the next one to have the
                # connection takes for committed would be rolled back.
                connection.terminate()
                raise
            try:
                yield Direct(connection)
            except BaseException:
                if not connection.is_closed():  # else it is rolled back; the first error tells more
                    await opened.rollback()
                raise
            await opened.commit()

    async def give_back(self) -> None:
        """Let go of the connections that were kept."""
        while self._idle:
            await greenlet_spawn(self._idle.pop().close)


@lru_cache(maxsize=1024)
def _compiled(statement: Statement) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Return a statement as asyncpg takes it, its parameters' names in order, and known values."""
    compiled: Any = statement.compile(dialect=_DIALECT)
    names = tuple(compiled.positiontup)
    needed = {name for name, bind in compiled.binds.items() if bind.required}
    known = {name: value for name, value in compiled.params.items() if name not in needed}
    return compiled.string, names, known
