"""Searching, listing and counting one user's memories."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import Counted, Found, List, Listed, Match, Search
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import looks, statements
from bespoke_workers.memories.answers import at_least, containing, memory_of
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import Hit
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.locking import lock

TRIES = 3
"""How often a search is made again because the memories changed, before they are locked."""


class Reading:
    """Reads memories of any user."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        embedder: Embedder,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._loader = loader
        self._embedder = embedder
        self._clock = clock

    async def search(self, payload: Search) -> Found:
        """Return the memories most similar to the query, and count the access of each.

        Raises OtherEmbedder if the user's memories are of another embedder.
        """
        query = self._embedder.embed([payload.query])[0]
        async with self._loader.turn(payload.user_id):
            for attempt in range(TRIES + 1):
                found = await self._search(payload, query, locked=attempt == TRIES)
                if found is not None:
                    return found
        raise AssertionError("a locked space does not change")

    async def list(self, payload: List) -> Listed:
        """Return a page of memories, newest first, and how many there are in all."""
        parameters = {
            "user_id": payload.user_id,
            "tags": list(payload.tags),
            "kind": payload.kind,
            "pattern": None if payload.text is None else containing(payload.text),
            "limit": payload.limit,
            "offset": payload.offset,
        }
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(statements.LIST, parameters)).all()
        memories = tuple(memory_of(row) for row in rows if row.id is not None)
        return Listed(memories=memories, total=rows[0].total)

    async def count(self, user_id: str) -> Counted:
        """Return how many memories a user has."""
        async with self._database.autocommit() as connection:
            row = (await connection.execute(statements.READ_SPACE, {"user_id": user_id})).first()
        return Counted(count=0 if row is None else row.count)

    async def _search(
        self, payload: Search, query: NDArray[np.float32], *, locked: bool
    ) -> Found | None:
        """Search what the database holds now; None if that changed before it was counted."""
        async with self._database.transaction() as session:
            connection = await session.connection()
            if locked and not await lock(connection, payload.user_id):
                return Found(matches=())
            loaded = await self._loader.load(connection, payload.user_id)
            if loaded is None:
                return Found(matches=())
            hits = await self._hits(connection, loaded, payload, query)
            if not hits:
                # What was selected after the index was loaded may be in the place of what it shows.
                at = {"user_id": payload.user_id, "version": loaded.space.version}
                is_at = (await connection.execute(looks.IS_AT, at)).first() is not None
                return Found(matches=()) if is_at else None
            rows = await self._accessed(connection, payload.user_id, loaded, hits)
        if rows is None:
            return None
        memories = {row.id: memory_of(row) for row in rows}
        return Found(
            matches=tuple(
                Match(memory=memories[memory_id], similarity=similarity)
                for memory_id, similarity in hits
                if memory_id in memories
            )
        )

    async def _hits(
        self,
        connection: AsyncConnection,
        loaded: Loaded,
        payload: Search,
        query: NDArray[np.float32],
    ) -> Sequence[Hit]:
        accept = None
        if payload.tags or payload.kind is not None or payload.text is not None:
            parameters = {
                "user_id": payload.user_id,
                "tags": list(payload.tags),
                "kind": payload.kind,
                "pattern": None if payload.text is None else containing(payload.text),
            }
            selected = await connection.execute(statements.SELECTED, parameters)
            accept = frozenset(selected.scalars()).__contains__
        return at_least(loaded.index.nearest(query, payload.limit, accept), payload.threshold)

    async def _accessed(
        self, connection: AsyncConnection, user_id: str, loaded: Loaded, hits: Sequence[Hit]
    ) -> Sequence[Row[Any]] | None:
        """Count an access of each hit and read it; None if the version has moved."""
        parameters = {
            "user_id": user_id,
            "version": loaded.space.version,
            "ids": [hit[0] for hit in hits],
            "now": self._clock(),
        }
        rows = (await connection.execute(statements.COUNT_ACCESSES, parameters)).all()
        if not rows:
            return None
        most = max(row.access_count for row in rows)
        if most > loaded.space.most_accessed:
            raised = {
                "user_id": user_id,
                "most_accessed": most,
                "low_access_threshold": str(loaded.space.policy.low_access_threshold),
            }
            await connection.execute(statements.RAISE_MOST_ACCESSED, raised)
        return rows
