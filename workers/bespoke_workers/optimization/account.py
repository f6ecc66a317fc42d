"""What a run takes, written to its row as it goes: what a killed or failed one took counts too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, update
from sqlmodel import col

from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import OptimizationJob
from bespoke_workers.optimization.batches.batch_statements import IN_VAIN
from bespoke_workers.optimization.language_model.usage import FIGURES, Spent, Usage
from bespoke_workers.optimization.leases import Claim
from bespoke_workers.optimization.stopping import Stop


@dataclass(frozen=True)
class Growth:
    """By how much a run's figures grew since its row was last told of them."""

    spent: Spent
    seconds: float
    tier: str | None

    def columns(self) -> dict[str, Any]:
        """Return what is to be set in the row: each figure is added to, whoever adds to it too."""
        row = OptimizationJob
        grown: dict[str, Any] = {
            name: getattr(row, name) + more
            for name, more in zip(FIGURES, self.spent, strict=True)
            if more
        }
        grown["seconds"] = col(row.seconds) + self.seconds
        if self.tier is not None:
            grown["ran_tier"] = self.tier
        return grown


class Account:
    """Keeps a row's figures up to those of the run that holds it."""

    def __init__(self, database: Database, claim: Claim, usage: Usage, stop: Stop) -> None:
        self._database = database
        self._claim = claim
        self._usage = usage
        self._stop = stop
        self._told, self._told_seconds = claim.spent, claim.seconds
        self._telling = asyncio.Lock()
        self.tier: str | None = None
        """What the run runs as, once that is known."""

    @asynccontextmanager
    async def growth(self) -> AsyncIterator[Growth]:
        """Yield what the row is to be told now; it counts as told if the block goes well.

        Whoever wants to tell it too waits, so that nothing is added twice.
        """
        async with self._telling:
            spent, seconds = self._usage.spent, self._stop.seconds
            yield Growth(spent - self._told, seconds - self._told_seconds, self.tier)
            self._told, self._told_seconds = spent, seconds

    async def settle(self) -> None:
        """Add what was paid after the row had ended, or was another's: it was paid all the same.

        Of a row that ended in vain, upkeep may have counted that by the answers that are kept.
        """
        if self._usage.spent == self._told:
            return
        row = OptimizationJob
        in_vain = col(row.state).in_(IN_VAIN)
        async with self.growth() as growth, self._database.autocommit() as connection:
            columns = growth.columns()
            for name, figure in zip(FIGURES, self._usage.spent, strict=True):
                if name in columns:
                    most = func.greatest(getattr(row, name), figure)
                    columns[name] = case((in_vain, most), else_=columns[name])
            await connection.execute(
                update(row)
                .where(col(row.id) == self._claim.job_id, col(row.user_id) == self._claim.user_id)
                .values(columns)
            )
