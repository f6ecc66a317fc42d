"""Looking at one user's memories without leaving a trace: no access is counted."""

from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import FindSimilar, Found, Get, Got, Match, SpaceStats
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import looks, statements
from bespoke_workers.memories.answers import at_least, memory_of
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import Hit, from_bytes
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.locking import lock

TRIES = 3
"""How often a look is taken again because the memories changed, before they are locked."""


class Inspecting:
    """Reads single memories, their likes and their statistics, of any user."""

    def __init__(self, database: Database, loader: Loader, embedder: Embedder) -> None:
        self._database = database
        self._loader = loader
        self._embedder = embedder

    async def get(self, payload: Get) -> Got:
        """Return the memory; None where this user has none under that id."""
        parameters = {"user_id": payload.user_id, "ids": [payload.memory_id]}
        async with self._database.autocommit() as connection:
            row = (await connection.execute(statements.READ_MEMORIES, parameters)).first()
        return Got(memory=None if row is None else memory_of(row))

    async def stats(self, user_id: str) -> SpaceStats:
        """Return what a space holds, counted over its rows at one moment."""
        async with self._database.autocommit() as connection:
            row = (await connection.execute(looks.READ_STATS, {"user_id": user_id})).one()
        return SpaceStats.model_validate(row, from_attributes=True)

    async def find_similar(self, payload: FindSimilar) -> Found:
        """Return the memories most similar to a text or to another memory, best first.

        Raises OtherEmbedder if the user's memories are of another embedder.
        """
        vector = None if payload.content is None else self._embedder.embed([payload.content])[0]
        async with self._loader.turn(payload.user_id):
            for attempt in range(TRIES + 1):
                found = await self._find_similar(payload, vector, locked=attempt == TRIES)
                if found is not None:
                    return found
        raise AssertionError("a locked space does not change")

    async def _find_similar(
        self, payload: FindSimilar, vector: NDArray[np.float32] | None, *, locked: bool
    ) -> Found | None:
        """Look at what the database holds now; None if that changed before it was read."""
        async with self._database.transaction() as session:
            connection = await session.connection()
            if locked and not await lock(connection, payload.user_id):
                return Found(matches=())
            loaded = await self._loader.load(connection, payload.user_id)
            if loaded is None:
                return Found(matches=())
            sought = vector
            if payload.memory_id is not None:
                row = await self._stored(connection, payload.user_id, payload.memory_id, loaded)
                if row is None:
                    return None  # what is there by now may be of another embedder
                sought = None if row.embedding is None else _vector(row.embedding, loaded)
            if sought is None:
                return Found(matches=())
            return await self._matches(connection, payload, loaded, sought)

    async def _stored(
        self, connection: AsyncConnection, user_id: str, memory_id: UUID, loaded: Loaded
    ) -> Row[Any] | None:
        parameters = {"user_id": user_id, "id": memory_id, "version": loaded.space.version}
        return (await connection.execute(looks.READ_EMBEDDING, parameters)).first()

    async def _matches(
        self,
        connection: AsyncConnection,
        payload: FindSimilar,
        loaded: Loaded,
        vector: NDArray[np.float32],
    ) -> Found | None:
        hits = self._hits(payload, loaded, vector)
        # The memory itself is read too: without a hit, it tells whether the version has moved.
        itself = [] if payload.memory_id is None else [payload.memory_id]
        ids = [hit[0] for hit in hits] + itself
        if not ids:
            return Found(matches=())
        parameters = {"user_id": payload.user_id, "version": loaded.space.version, "ids": ids}
        rows = (await connection.execute(looks.READ_UNCHANGED, parameters)).all()
        if not rows:
            return None
        memories = {row.id: memory_of(row) for row in rows}
        return Found(
            matches=tuple(
                Match(memory=memories[memory_id], similarity=similarity)
                for memory_id, similarity in hits
            )
        )

    def _hits(self, payload: FindSimilar, loaded: Loaded, vector: NDArray[np.float32]) -> list[Hit]:
        threshold = payload.threshold
        if threshold is None:
            threshold = loaded.space.policy.threshold(self._embedder.threshold)
        nearest = loaded.index.nearest(vector, payload.limit, lambda one: one != payload.memory_id)
        return at_least(nearest, threshold)


def _vector(stored: bytes, loaded: Loaded) -> NDArray[np.float32]:
    return from_bytes(stored, loaded.space.dim).astype(np.float32)
