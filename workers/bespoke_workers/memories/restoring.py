"""Bringing memories back from the archive, within the same bounds as a store."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.memories import Restore, Restored, Skipped
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.errors import Refused, Transient
from bespoke_workers.memories import archive_statements, archived_vectors, statements
from bespoke_workers.memories.archive import UPDATED, Archive
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import UserIndex, from_bytes
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.locking import lock
from bespoke_workers.memories.removal import recounted
from bespoke_workers.memories.space import Space
from bespoke_workers.observe import events


@dataclass
class Return:
    """Which archived memories come back, decided one by one, and what is written of it.

    ``changed`` are those of them that are there, in a later state.
    """

    loaded: Loaded
    threshold: float
    facts: dict[UUID, str]
    kinds: Counter[str]
    rows: list[UUID] = field(default_factory=list)
    vectors: dict[UUID, NDArray[np.float16]] = field(default_factory=dict)
    changed: set[UUID] = field(default_factory=set)
    skipped: dict[UUID, Skipped] = field(default_factory=dict)
    space: Space | None = None

    def __post_init__(self) -> None:
        """Index what comes back apart: the cached index shows only what is committed."""
        self._returned = UserIndex([], np.empty((0, self.loaded.space.dim)), self.loaded.space.dim)

    def weigh(self, row: Any, embedding: bytes) -> None:
        """Let an archived state of a memory come back, unless a state before it did.

        It stays where its memory is there unchanged, duplicates another or has no room.
        ``row`` has what READ_ARCHIVED gives; ``embedding`` is its own, as it is stored.
        """
        if row.memory_id in self.vectors:
            return
        vector = from_bytes(embedding, self.loaded.space.dim)
        reason = self._obstacle(row, vector)
        if reason is not None:
            skipped = Skipped(memory_id=UUID(bytes=row.memory_id.bytes), reason=reason)
            self.skipped.setdefault(row.memory_id, skipped)
            return
        if row.memory_id in self.facts:
            self.changed.add(row.memory_id)
        self.skipped.pop(row.memory_id, None)
        self.rows.append(row.id)
        self.vectors[row.memory_id] = vector
        self.facts[row.memory_id] = row.facts
        self.kinds[row.kind] += 1
        self._returned.add(row.memory_id, vector)

    def _obstacle(
        self, row: Any, vector: NDArray[np.float16]
    ) -> Literal["duplicate", "full", "present"] | None:
        is_there = row.memory_id in self.facts
        if is_there and row.reason != UPDATED:
            return "present"
        if self._is_duplicate(row, vector):
            return "duplicate"
        return "full" if not is_there and self._is_full(row.kind) else None

    def _is_full(self, kind: str) -> bool:
        policy = self.loaded.space.policy
        has_cap = kind in policy.caps and self.kinds[kind] >= policy.caps[kind]
        return has_cap or len(self.facts) >= policy.max_memories

    def _is_duplicate(self, row: Any, vector: NDArray[np.float16]) -> bool:
        guarded = self.loaded.space.policy.dedup_guard
        return any(
            not guarded or self.facts[memory_id] == row.facts
            for index, outdated in ((self.loaded.index, self.changed), (self._returned, ()))
            for memory_id, _ in index.similar(vector, self.threshold)
            if memory_id != row.memory_id and memory_id not in outdated
        )


class Restoring:
    """Restores memories of any user."""

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

    async def restore(self, payload: Restore) -> Restored:
        """Move memories from the archive back to the user's; once per job id.

        What was touched last comes first, as long as there is room; the others are named. What
        an update changed gets its earlier state back, and the archive takes the present one.
        Raises Refused if the id belongs to another job, OtherEmbedder if the user's memories
        are of another embedder.
        """
        done: list[Return] = []
        vectors = await archived_vectors.embedded(self._database, self._embedder, payload)

        async def effect(session: AsyncSession) -> Restored:
            back = await self._restored(await session.connection(), payload, vectors)
            if back is None:
                return Restored(restored_count=0)
            done.append(back)
            return Restored(restored_count=len(back.rows), skipped=tuple(back.skipped.values()))

        async with self._loader.turn(payload.user_id):
            restored = await once(self._database, payload, effect)
            for back in done:
                self._tell(payload.user_id, back)
        return restored

    async def _restored(
        self, connection: AsyncConnection, payload: Restore, vectors: archived_vectors.Vectors
    ) -> Return | None:
        """Restore in a transaction that locks the space; None if there is no space."""
        whose = {"user_id": payload.user_id}
        if not await lock(connection, payload.user_id):
            return None
        loaded = await self._loader.load_locked(connection, payload.user_id)
        rows = (await connection.execute(statements.READ_PROBES, whose | {"probes": 0})).all()
        back = Return(
            loaded,
            loaded.space.policy.threshold(self._embedder.threshold),
            {row.id: row.facts for row in rows},
            Counter(row.kind for row in rows),
        )
        rows = await self._sought(connection, payload)
        if not vectors.keys() >= {row.id for row in rows}:
            raise Transient("more has been archived meanwhile; the job is done again")
        for row in rows:
            back.weigh(row, vectors[row.id])
        if back.rows:
            back.space = await self._write(connection, payload, back)
        return back

    async def _sought(self, connection: AsyncConnection, payload: Restore) -> Sequence[Row[Any]]:
        sought = {
            "user_id": payload.user_id,
            "run_id": payload.run_id,
            "memory_id": payload.memory_id,
        }
        return (await connection.execute(archive_statements.READ_ARCHIVED, sought)).all()

    async def _write(self, connection: AsyncConnection, payload: Restore, back: Return) -> Space:
        now, version = self._clock(), back.loaded.space.next_version().version
        user_id = payload.user_id
        archive = Archive(connection, user_id=user_id, run_id=payload.id, version=version, now=now)
        await archive.copy(list(back.changed))
        parameters: Mapping[str, Any] = {
            "user_id": user_id,
            "ids": back.rows,
            "embeddings": [vector.tobytes() for vector in back.vectors.values()],
            "restored": len(back.rows),
            "version": version,
            "now": now,
        }
        restored = await connection.execute(archive_statements.RESTORE, parameters)
        if restored.rowcount != len(back.rows):
            raise Refused("a memory to be restored has the id of another user's; it stays archived")
        return await recounted(connection, user_id, version, self._default)

    def _tell(self, user_id: str, back: Return) -> None:
        """Bring the cached index to what is committed, and tell of it."""
        if back.space is None:
            return
        self._loader.follow(user_id, back.space, added=back.vectors)
        events.emit(
            "dspy.memory.restored",
            user_id=user_id,
            restored_count=len(back.rows),
            skipped_count=len(back.skipped),
            after_count=back.space.count,
        )
