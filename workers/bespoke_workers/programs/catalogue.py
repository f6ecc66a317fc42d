"""What can be asked about the versions without loading their states."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas import programs
from bespoke_workers.database.engine import Database
from bespoke_workers.programs import comparison, finding, history, versions


class Catalogue:
    """Finds, lists and compares versions, and tells their history: one statement each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, payload: programs.Find) -> programs.Found:
        """Return a page of one owner's versions that are as the payload asks, newest first."""
        return await self._page(finding.found(payload, datetime.now(UTC)), payload.limit)

    async def list(self, payload: programs.List) -> programs.Found:
        """Return a page of all of one owner's versions, newest first."""
        return await self._page(finding.listed(payload), payload.limit)

    async def history(self, payload: programs.History) -> programs.ProgramHistory:
        """Return the summary, the optimizers' figures and the trends of one owner's versions."""
        statement, parameters = history.statement(payload)
        async with self._asking() as connection:
            rows = (await connection.execute(statement, parameters)).all()
        return history.history([history.Told.model_validate(row) for row in rows])

    async def compare(self, payload: programs.Compare) -> programs.Compared:
        """Compare two versions; Refused if one is not there, or not for this user to see."""
        async with self._asking() as connection:
            rows = (await connection.execute(comparison.both(payload))).all()
        found = [(versions.summary(row), comparison.shapes(row.shapes)) for row in rows]
        return comparison.compared(payload, found)

    async def _page(self, statement: Select[Any], limit: int) -> programs.Found:
        async with self._asking() as connection:
            rows = (await connection.execute(statement)).all()
        page = tuple(versions.summary(row) for row in rows[:limit])
        if len(rows) <= limit:
            return programs.Found(versions=page, next=None)
        last = page[-1]
        cursor = programs.Cursor(saved_at=last.saved_at, program_id=last.program_id)
        return programs.Found(versions=page, next=cursor)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.transaction() as session:
            connection = await session.connection()
            await finding.plan_each_time(connection)
            yield connection
