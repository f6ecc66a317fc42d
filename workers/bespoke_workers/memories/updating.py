"""Changing a memory: the archive keeps what it was, and what it then duplicates is merged."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.memories import Update, Updated
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.memories import guard, statements
from bespoke_workers.memories.answers import memory_of
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.duplicates import Candidate, Merge, merge
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import Hit, to_bytes
from bespoke_workers.memories.loading import Loader
from bespoke_workers.memories.locking import lock
from bespoke_workers.memories.merging import duplicates, settle
from bespoke_workers.memories.removal import recounted
from bespoke_workers.memories.space import Space
from bespoke_workers.observe import events


@dataclass
class Change:
    """What an Update asks for, embedded where it gives a content; and the space after it."""

    payload: Update
    at: datetime
    vector: NDArray[np.float32] | None
    space: Space | None = None
    gone: list[UUID] = field(default_factory=list)

    @property
    def tags(self) -> list[str] | None:
        """The new tags, each once; None if they stay as they are."""
        return None if self.payload.tags is None else list(dict.fromkeys(self.payload.tags))

    def columns(self) -> dict[str, Any]:
        """Return the parameters of UPDATE_MEMORY that describe the memory; null changes nothing."""
        given = self.payload
        return {
            "user_id": given.user_id,
            "id": given.memory_id,
            "content": given.content,
            "kind": given.kind,
            "tags": self.tags,
            "meta": None if given.metadata is None else json.dumps(given.metadata),
            "facts": None if given.content is None else guard.facts(given.content),
            "embedding": None if self.vector is None else to_bytes(self.vector),
            "now": self.at,
        }


class Updating:
    """Changes memories of any user."""

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

    async def update(self, payload: Update) -> Updated:
        """Change a memory, and merge it with what its new content duplicates; once per job id.

        Raises Refused if the id belongs to another job, OtherEmbedder if a content is given and
        the user's memories are of another embedder.
        """
        vector = None if payload.content is None else self._embedder.embed([payload.content])[0]
        change = Change(payload, self._clock(), vector)

        async def effect(session: AsyncSession) -> Updated:
            return await self._update(await session.connection(), change)

        async with self._loader.turn(payload.user_id):
            updated = await once(self._database, payload, effect)
            self._follow(change)
        return updated

    async def _update(self, connection: AsyncConnection, change: Change) -> Updated:
        user_id, memory_id = change.payload.user_id, change.payload.memory_id
        if not await lock(connection, user_id):
            return Updated(memory=None)
        space = (await connection.execute(statements.READ_SPACE, {"user_id": user_id})).one()
        before = await self._read(connection, user_id, memory_id)
        if before is None:
            return Updated(memory=None)
        similar, merged = await self._judged(connection, change, before)
        version = space.version + 1
        archive = Archive(
            connection, user_id=user_id, run_id=change.payload.id, version=version, now=change.at
        )
        await archive.copy([memory_id])
        await connection.execute(statements.UPDATE_MEMORY, change.columns() | {"version": version})
        await settle(connection, archive, user_id, merged, dict(similar), change.at)
        change.space = await recounted(connection, user_id, version, self._default)
        change.gone = [one.id for one in merged.gone]
        after = await self._read(connection, user_id, merged.kept.id)
        return Updated(
            memory=None if after is None else memory_of(after),
            merged_with=other_side(memory_id, merged),
        )

    async def _judged(
        self, connection: AsyncConnection, change: Change, before: Row[Any]
    ) -> tuple[list[Hit], Merge]:
        """Return what is similar to the new content, and what becomes of the duplicates."""
        tags = before.tags if change.tags is None else change.tags
        new = Candidate(
            change.payload.memory_id,
            before.access_count,
            before.last_accessed_at,
            tuple(tags),
            change.at,
        )
        user_id, content = change.payload.user_id, change.payload.content
        if change.vector is None or content is None:
            return [], Merge(new)
        loaded = await self._loader.load(connection, user_id)
        if loaded is None:
            return [], Merge(new)
        threshold = loaded.space.policy.threshold(self._embedder.threshold)
        near = loaded.index.similar(change.vector, threshold)
        similar = [hit for hit in near if hit[0] != change.payload.memory_id]
        found = await duplicates(connection, loaded.space, user_id, guard.facts(content), similar)
        return similar, merge(new, found, loaded.space.age_cutoff(change.at))

    async def _read(
        self, connection: AsyncConnection, user_id: str, memory_id: UUID
    ) -> Row[Any] | None:
        parameters = {"user_id": user_id, "ids": [memory_id]}
        return (await connection.execute(statements.READ_MEMORIES, parameters)).first()

    def _follow(self, change: Change) -> None:
        """Bring the cached index to what is committed; a job done before changes nothing."""
        if change.space is None:
            return
        memory_id = change.payload.memory_id
        added: dict[UUID, ArrayLike] = {}
        if change.vector is not None and memory_id not in change.gone:
            added = {memory_id: change.vector}
        self._loader.follow(change.payload.user_id, change.space, removed=change.gone, added=added)
        events.emit(
            "dspy.memory.updated",
            user_id=change.payload.user_id,
            merged_count=len(change.gone),
            after_count=change.space.count,
        )


def other_side(memory_id: UUID, merged: Merge) -> UUID | None:
    """Return the other side of a merge: what is kept in its place, or the most similar one gone."""
    if not merged.gone:
        return None
    return merged.gone[0].id if merged.kept.id == memory_id else merged.kept.id
