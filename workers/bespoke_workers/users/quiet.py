"""Waiting until whatever began before the fence went up has ended."""

import asyncio
from time import monotonic

from bespoke_workers.database.engine import Database
from bespoke_workers.memories.statements import statement

LOOK_SECONDS = 0.05

MARK = statement("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
"""Take a number that is later than that of each transaction that has begun to write."""

OLDEST = statement("""
    SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)
""")
"""Read the number of the oldest transaction that writes and has not ended."""


class NotYet(Exception):
    """What is waited for has not come to an end in this delivery's time."""


class Deadline:
    """The end of one delivery's time."""

    def __init__(self, seconds: float) -> None:
        self._at = monotonic() + seconds

    def is_over(self) -> bool:
        """Whether the time is up."""
        return monotonic() > self._at

    def check(self) -> None:
        """Raise NotYet once the time is up."""
        if self.is_over():
            raise NotYet

    async def look_again(self) -> None:
        """Wait a moment; raises NotYet once the time is up."""
        self.check()
        await asyncio.sleep(LOOK_SECONDS)


async def transactions_ended(database: Database, deadline: Deadline) -> None:
    """Wait until each transaction that has written something by now has ended.

    Those that begin to write later see what was committed before this was called.
    """
    async with database.autocommit() as connection:
        mark = (await connection.execute(MARK)).scalar_one()
    while True:
        async with database.autocommit() as connection:
            if (await connection.execute(OLDEST)).scalar_one() > mark:
                return
        await deadline.look_again()
