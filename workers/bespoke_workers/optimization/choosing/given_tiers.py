"""Tiers that users are given by hand."""

from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import SetTier, TierSet
from bespoke_workers import modules
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import Learner
from bespoke_workers.optimization.choosing.tiers import Table
from bespoke_workers.programs import registry
from bespoke_workers.settings import Settings


class GivenTiers:
    """Gives users their tiers."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._modules = settings.programs
        self._table = Table.from_settings(settings)

    async def set(self, payload: SetTier) -> TierSet:
        """Give a user a tier, or none; raises Refused for an unknown program or tier."""
        modules.load(self._modules)
        registry.get(payload.program)
        if payload.tier is not None:
            self._table.band(payload.tier)

        async def effect(session: AsyncSession) -> TierSet:
            row = {"user_id": payload.user_id, "program": payload.program, "tier": payload.tier}
            await session.exec(
                insert(Learner)
                .values(row)
                .on_conflict_do_update(
                    index_elements=["user_id", "program"], set_={"tier": payload.tier}
                )
            )
            return TierSet(tier=payload.tier)

        return await once(self._database, payload, effect)
