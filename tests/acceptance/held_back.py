"""Meeting a job in the middle of its work, and asking its database."""

import asyncio
from typing import Any, Self

import asyncpg

QUICK = {"BESPOKE_CLAIM_TIMEOUT_S": "1", "BESPOKE_LEASE_S": "2"}


def ask(database_url: str, query: str, *arguments: object) -> Any:
    """Run one statement and return its first value."""

    async def run() -> Any:
        connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    return asyncio.run(run())


class HeldBack:
    """Holds a table against writers, so that a job can be met in the middle of its work.

    With ``rows``, a condition, only those rows are held.
    """

    def __init__(self, database_url: str, table: str, rows: str | None = None) -> None:
        self._url = database_url.replace("+asyncpg", "")
        self._hold = f"LOCK TABLE {table} IN EXCLUSIVE MODE"
        if rows is not None:
            self._hold = f"SELECT FROM {table} WHERE {rows} FOR UPDATE"
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        self._connection = self._loop.run_until_complete(asyncpg.connect(self._url))
        self._run("BEGIN")
        self._run(self._hold)
        return self

    def __exit__(self, *_: object) -> None:
        self._run("ROLLBACK")
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    def waiting(self) -> int:
        """How many statements wait for what this one holds."""
        waits = "pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        query = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {waits}"
        return int(self._loop.run_until_complete(self._connection.fetchval(query)))

    def _run(self, statement: str) -> None:
        self._loop.run_until_complete(self._connection.execute(statement))
