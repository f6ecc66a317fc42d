"""A batch for every tier at once."""

from uuid import UUID, uuid5

from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import BatchBegun, BatchesBegun, OptimizeAll, OptimizeTier, Tier
from bespoke_workers import modules
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.errors import Transient
from bespoke_workers.optimization.choosing.tiers import Table
from bespoke_workers.optimization.language_model import lm
from bespoke_workers.outbox import Outbox
from bespoke_workers.programs import registry
from bespoke_workers.settings import Settings


class AllTiers:
    """Enqueues a batch for each tier that optimizes anything."""

    def __init__(self, database: Database, settings: Settings, outbox: Outbox) -> None:
        self._database = database
        self._settings = settings
        self._outbox = outbox
        self._table = Table.from_settings(settings)

    async def begin(self, payload: OptimizeAll) -> BatchesBegun:
        """Name the batches and enqueue them; a redelivery enqueues the same ones again.

        Raises Refused for an unknown program, Misconfigured where no language model is set,
        Transient if the broker is away.
        """

        async def effect(_: AsyncSession) -> BatchesBegun:
            modules.load(self._settings.programs)
            registry.get(payload.program)
            lm.require(self._settings)
            begun = (
                BatchBegun(batch_id=batch_id(payload.id, tier), tier=tier)
                for tier in self._table.optimized
            )
            return BatchesBegun(batches=tuple(begun))

        begun = await once(self._database, payload, effect)
        for batch in begun.batches:
            self._enqueue(payload, batch)
        return begun

    def _enqueue(self, payload: OptimizeAll, batch: BatchBegun) -> None:
        asked = OptimizeTier(
            id=batch.batch_id,
            program=payload.program,
            tier=batch.tier,
            max_concurrent=payload.max_concurrent,
            min_new_examples=payload.min_new_examples,
        )
        try:
            self._outbox.enqueue(asked)
        except Exception as error:
            raise Transient(f"the broker failed: {type(error).__name__}") from error


def batch_id(job_id: UUID, tier: Tier) -> UUID:
    """Return the id of a tier's batch; the same for each delivery of the job."""
    return uuid5(job_id, tier)
