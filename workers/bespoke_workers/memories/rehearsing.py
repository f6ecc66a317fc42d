"""Dry runs: what a compaction would remove, under this policy or under another preset."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.memories import Compact, Compaction
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.memories import looks
from bespoke_workers.memories.compactor import NOTHING
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.policies import own_of
from bespoke_workers.memories.sweeping import planned_over_all, whose


class Rehearsing:
    """Tells for any user what a compaction would do, and writes nothing but the job."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        embedder: Embedder,
        default: Defaults,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._loader = loader
        self._embedder = embedder
        self._default = default
        self._clock = clock

    async def compact(self, payload: Compact) -> Compaction:
        """Return the report of a compaction that is not done; once per job id.

        Stores go on meanwhile: the space is read as of one moment, and not locked. Raises Refused
        if the preset is unknown or the id belongs to another job, Misconfigured if the user's
        memories are of another embedder.
        """
        async with self._loader.turn(whose(payload)):
            report = await self._report(payload)

        async def effect(_: AsyncSession) -> Compaction:
            return report

        return await once(self._database, payload, effect)

    async def _report(self, payload: Compact) -> Compaction:
        async with self._database.transaction() as session:
            connection = await session.connection()
            await connection.execute(looks.ONE_MOMENT)
            user_id = whose(payload)
            preset, overrides = await own_of(connection, user_id)
            policy = self._default.resolve(user_id, payload.preset or preset, overrides)
            loaded = await self._loader.load(connection, user_id)
            if loaded is None:
                return NOTHING
            tried = Loaded(replace(loaded.space, policy=policy), loaded.index)
            planned, _ = await planned_over_all(
                connection, tried, self._embedder, payload, self._clock()
            )
        return Compaction.model_validate(planned.report.as_dict())
