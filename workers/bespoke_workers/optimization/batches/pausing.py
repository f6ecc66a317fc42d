"""Pausing batches, and letting them go on. What is paused is a column: no process remembers it."""

from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import BatchPaused, BatchResumed, PauseBatch, ResumeBatch
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.optimization.batches import held
from bespoke_workers.optimization.batches.batches import OPEN, Batches, locked

UNKNOWN: Final = "there is no batch of that id"


class Pausing:
    """Pauses batches and lets them go on."""

    def __init__(self, database: Database, batches: Batches) -> None:
        self._database = database
        self._batches = batches

    async def pause(self, payload: PauseBatch) -> BatchPaused:
        """Begin no further run of a batch; its runs go on, and its planning too."""

        async def effect(session: AsyncSession) -> BatchPaused:
            batch = await locked(session, payload.batch_id)
            if batch is None:
                return BatchPaused(paused=False, reason=UNKNOWN)
            if batch.state not in OPEN:
                return BatchPaused(paused=False, reason=f"it has ended: {batch.state}")
            batch.paused = True
            session.add(batch)
            await held.take_back(session, batch)
            return BatchPaused(paused=True, reason="no further run begins; those that run go on")

        return await once(self._database, payload, effect)

    async def resume(self, payload: ResumeBatch) -> BatchResumed:
        """Let a paused batch go on; the reaper does it should this worker die now."""

        async def effect(session: AsyncSession) -> BatchResumed:
            batch = await locked(session, payload.batch_id)
            if batch is None:
                return BatchResumed(resumed=False, reason=UNKNOWN)
            if batch.state not in OPEN:
                return BatchResumed(resumed=False, reason=f"it has ended: {batch.state}")
            if not batch.paused:
                return BatchResumed(resumed=False, reason="it is not paused")
            batch.paused = False
            session.add(batch)
            return BatchResumed(resumed=True, reason="it goes on where it was")

        resumed = await once(self._database, payload, effect)
        await self._batches.top_up(payload.batch_id)
        return resumed
