"""How long the archive is kept: old rows are deleted, and indexes that slept are told."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_workers.database.engine import Database
from bespoke_workers.memories import pruning_statements

PAGE = 1_000
PAGES = 200
"""What is left after so many pages waits for the next night."""


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

    async def prune(self) -> int:
        """Delete page by page; return how many archived memories that were."""
        now, pruned = self._clock(), 0
        for _ in range(PAGES):
            async with self._database.transaction() as session:
                page = await _page(await session.connection(), now - self._archive)
            pruned += page
            if not page:
                break
        async with self._database.transaction() as session:
            connection = await session.connection()
            await connection.execute(pruning_statements.RUNS, {"before": now - self._archive})
            before = {"before": now - self._jobs}
            await connection.execute(pruning_statements.PARTS, before)
            await connection.execute(pruning_statements.ROUNDS, before)
        return pruned


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
