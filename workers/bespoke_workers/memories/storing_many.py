"""Storing many memories: embedded in one call, written in one transaction, compacted once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID

from bespoke_schemas.memories import StoredMany, StoredOne, StoreMany
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import arriving, newcomers, statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.arriving import Arrivals
from bespoke_workers.memories.compactor import Compacted, compact
from bespoke_workers.memories.duplicates import Merge
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.loading import Loader
from bespoke_workers.memories.locking import made_and_locked
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.memories.space import Space
from bespoke_workers.memories.verdicts import Verdicts


@dataclass(frozen=True)
class Done:
    """Stores that are committed: their result, the space after them, and what went."""

    stored: StoredMany
    compacted: Compacted
    gone: tuple[UUID, ...]


class StoringMany:
    """Stores many memories at once, for any user."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        embedder: Embedder,
        clock: Callable[[], datetime],
        safeguard: Safeguard,
    ) -> None:
        self._safeguard = safeguard
        self._database = database
        self._loader = loader
        self._embedder = embedder
        self._clock = clock

    async def store(self, payload: StoreMany) -> StoredMany:
        """Store all memories of a payload, or none, and compact once; once per job id.

        Raises Refused if the id belongs to another job, OtherEmbedder if the user's memories
        are of another embedder, Transient if the database is away.
        """
        now = self._clock()
        vectors = self._embedder.embed([one.content for one in payload.memories])
        new = Arrivals(newcomers.of(payload.id, payload.memories, now), vectors, now)
        async with self._loader.turn(payload.user_id):
            effect = partial(self._write, payload, new)
            done = await made_and_locked(
                self._database, payload, payload.user_id, self._embedder, effect
            )
            if isinstance(done, StoredMany):
                return done
            self._follow(payload.user_id, new, done)
        done.compacted.tell(payload.user_id)
        return done.stored

    async def _write(self, payload: StoreMany, new: Arrivals, connection: Connection) -> Done:
        user_id = payload.user_id
        loaded = await self._loader.load_locked(connection, user_id)
        version = loaded.space.next_version().version
        archive = Archive(
            connection, user_id=user_id, run_id=payload.id, version=version, now=new.at
        )
        threshold = loaded.space.policy.threshold(self._embedder.threshold)
        verdicts = await arriving.weigh(connection, loaded, archive, threshold, new)
        await arriving.insert(connection, user_id, version, new)
        await arriving.settle(connection, archive, verdicts, new.at)
        space = after_all(loaded.space, new, verdicts.merges)
        compacted = await compact(
            connection,
            archive,
            space,
            new.at,
            loaded.index,
            self._safeguard,
            just_stored={verdicts.standing(one.candidate.id) for one in new.newcomers},
            unindexed=new.by_id(verdicts.replaced),
        )
        stored = result(new, verdicts, compacted)
        finished = {"id": payload.id, "user_id": user_id, "result": stored.model_dump_json()}
        await connection.execute(statements.FINISH, compacted.space.counters() | finished)
        return Done(stored, compacted, (*verdicts.replaced, *compacted.removed))

    def _follow(self, user_id: str, new: Arrivals, done: Done) -> None:
        """Bring the cached index to the version just written."""
        added = new.by_id(set(done.gone))
        self._loader.follow(
            user_id, done.compacted.space, removed=done.gone, added=added, are_new=True
        )


def after_all(space: Space, new: Arrivals, merges: list[Merge]) -> Space:
    """Return the space after one store after the other, all of them under one version."""
    stores = [
        (one.created_at, merged, one.kind)
        for one, merged in zip(new.newcomers, merges, strict=True)
    ]
    return replace(space.after_stores(stores), version=space.version + 1)


def result(new: Arrivals, verdicts: Verdicts, compacted: Compacted) -> StoredMany:
    """Return what became of each newcomer in the end."""
    removed = set(compacted.removed)
    stored = tuple(
        _outcome(one.candidate.id, merged, verdicts, removed)
        for one, merged in zip(new.newcomers, verdicts.merges, strict=True)
    )
    return StoredMany(stored=stored, count=compacted.space.count, compaction=compacted.report)


def _outcome(own: UUID, merged: Merge, verdicts: Verdicts, removed: set[UUID]) -> StoredOne:
    """Say what became of one: merged at once, or taken in by a later one, or there to stay."""
    kept = verdicts.standing(own)
    others = (own,) if own in verdicts.replaced else tuple(one.id for one in merged.gone)
    nearest = max(others, key=lambda other: verdicts.cosines[other], default=None)
    merged_or_not = "inserted" if nearest is None else "merged"
    return StoredOne(
        memory_id=kept,
        outcome="archived" if kept in removed else merged_or_not,
        merged_with=nearest,
        similarity=None if nearest is None else verdicts.cosines[nearest],
    )
