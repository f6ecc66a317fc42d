"""How long the archive is kept: old rows are deleted, and indexes that slept are told."""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_workers.database.engine import Database
from bespoke_workers.memories import pruning_statements

PAGE = 1_000


class Pruning:
    """Deletes what has been in the archive for too long, and old records beside it."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime], archive_days: int, job_days: int
    ) -> None:
        """``job_days`` is how long a round is kept once it has ended."""
        self._database = database
        self._clock = clock
        self._archive = timedelta(days=archive_days)
        self._jobs = timedelta(days=job_days)

    async def prune(self, seconds: float) -> bool:
        """Delete page by page.

        Returns whether that was all; False where ``seconds`` were too few, and some are left.
        """
        now, until = self._clock(), monotonic() + seconds
        kept, jobs_kept = now - self._archive, now - self._jobs
        while await self._page(kept):
            if monotonic() > until:
                return False
        for statement, before in (
            (pruning_statements.RUNS, kept),
            (pruning_statements.PARTS, jobs_kept),
            (pruning_statements.ROUNDS, jobs_kept),
        ):
            while await self._deleted(statement, before) == PAGE:
                if monotonic() > until:
                    return False
        return True

    async def _page(self, before: datetime) -> int:
        async with self._database.transaction() as session:
            return await _page(await session.connection(), before)

    async def _deleted(self, statement: TextClause, before: datetime) -> int:
        page = {"before": before, "limit": PAGE}
        async with self._database.transaction() as session:
            deleted = await (await session.connection()).execute(statement, page)
        return deleted.rowcount


async def _page(connection: AsyncConnection, before: datetime) -> int:
    """Delete a page of the archive while its users' spaces are locked; return its length."""
    page = {"before": before, "limit": PAGE}
    found = await connection.execute(pruning_statements.WHOSE, page)
    users = {"users": [row.user_id for row in found]}
    if not users["users"]:
        return 0
    # First the spaces and then the archive, as a restoration does it.
    await connection.execute(pruning_statements.LOCK_SPACES, users)
    pruned: int = (await connection.execute(pruning_statements.PRUNE, page | users)).scalar_one()
    return pruned
