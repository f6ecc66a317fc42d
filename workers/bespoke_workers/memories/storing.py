"""Storing one memory: embedded outside of any transaction, written by one guarded statement.

The statement holds only if the space is at the version that the cached index shows. Else what
changed is fetched and the search made again; after a few tries, or where a compaction is due or
several duplicates go, the space is locked first, so that progress is certain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import perf_counter
from uuid import UUID

from bespoke_schemas.memories import Store, Stored
from bespoke_workers.database import once
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Transient
from bespoke_workers.memories import guarded, statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compactor import Compacted, compact
from bespoke_workers.memories.deferral import Deferral
from bespoke_workers.memories.duplicates import Merge, merge
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.locking import BEING_ERASED, made_and_locked, make
from bespoke_workers.memories.merging import Judged, duplicates, insert, outcome
from bespoke_workers.memories.safeguard import Safeguard

GUARDED_TRIES = 3
"""With every further try of its own, a store among many for one user would starve the others."""


@dataclass(frozen=True)
class Done:
    """A store that is committed: its result, the space after it, and what the index lacks."""

    stored: Stored
    compacted: Compacted
    is_added: bool
    removed: tuple[UUID, ...] = ()


class Storing:
    """Stores memories for any user."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        embedder: Embedder,
        clock: Callable[[], datetime],
        deferral: Deferral,
        safeguard: Safeguard,
    ) -> None:
        self._deferral = deferral
        self._safeguard = safeguard
        self._database = database
        self._loader = loader
        self._embedder = embedder
        self._clock = clock

    async def store(self, payload: Store) -> Stored:
        """Store a memory, or merge it with what it duplicates, and compact; once per job id.

        Raises Refused if the id belongs to another job, OtherEmbedder if the user's memories
        are of another embedder, Transient if the database is away.
        """
        fresh = Fresh.of(payload, self._embedder.embed([payload.content])[0], self._clock())
        async with self._loader.turn(payload.user_id):
            known = self._loader.cached(payload.user_id)
            done = await self._guarded(fresh, known)
            if done is None:
                effect = partial(self._write, fresh)
                done = await made_and_locked(
                    self._database, payload, payload.user_id, self._embedder, effect
                )
            if isinstance(done, Stored):
                return done
            self._catch_up(fresh, done)
        done.compacted.tell(payload.user_id)
        before = None if known is None else known.space
        self._deferral.ask(payload.user_id, before, done.compacted.space, fresh.at)
        return done.stored

    async def _guarded(self, fresh: Fresh, loaded: Loaded | None) -> Done | Stored | None:
        """Store by one statement; None if that cannot be done, the recorded result if it was."""
        async with self._database.direct() as connection:
            for _ in range(GUARDED_TRIES):
                loaded = loaded or await self._load(connection, fresh.payload)
                done = await self._tried(connection, loaded, fresh)
                if done is not guarded.MOVED:
                    break
                loaded = None
        if done is guarded.REPEATED:
            async with self._database.transaction() as session:
                return await once.recorded(session, fresh.payload)
        return done if isinstance(done, Done) else None

    async def _tried(
        self, connection: Connection, loaded: Loaded, fresh: Fresh
    ) -> Done | guarded.Refusal:
        """Store if no compaction is due, or it may wait, and at most one memory goes."""
        started = perf_counter()
        alone, kind = Merge(fresh.candidate), fresh.payload.kind
        space = loaded.space.after_store(fresh.at, alone, kind)
        is_due = space.is_compaction_due(fresh.at)
        if is_due and not self._deferral.allows(space):
            return guarded.BEYOND
        judged_ms = (perf_counter() - started) * 1000
        judged = await self._judged(connection, loaded, fresh)
        if judged.merged.gone:
            space = loaded.space.after_store(fresh.at, judged.merged, kind)
        compacted = Compacted(space, duration_ms=judged_ms)
        stored = outcome(fresh, judged, compacted)
        refusal = await guarded.write(connection, space, fresh, judged, stored, may_wait=is_due)
        return refusal or _done(fresh, judged.merged, stored, compacted)

    async def _load(self, connection: Connection, payload: Store) -> Loaded:
        """Return the user's index as of now, after making the space if this is the first store."""
        loaded = await self._loader.load(connection, payload.user_id)
        if loaded is None:
            await make(connection, payload.user_id, self._embedder, payload.id)
            loaded = await self._loader.load(connection, payload.user_id)
        if loaded is None:
            raise Transient(BEING_ERASED)
        return loaded

    async def _judged(self, connection: Connection, loaded: Loaded, fresh: Fresh) -> Judged:
        """Look for duplicates. Facts are not cached: few memories are so similar."""
        threshold = loaded.space.policy.threshold(self._embedder.threshold)
        similar = loaded.index.similar(fresh.vector, threshold)
        found = await duplicates(
            connection, loaded.space, fresh.payload.user_id, fresh.facts, similar
        )
        merged = merge(fresh.candidate, found, loaded.space.age_cutoff(fresh.at))
        return Judged(dict(similar), found, merged)

    async def _write(self, fresh: Fresh, connection: Connection) -> Done:
        """Store, merge and compact while the space is locked."""
        user_id, job_id = fresh.payload.user_id, fresh.payload.id
        loaded = await self._loader.load_locked(connection, user_id)
        judged = await self._judged(connection, loaded, fresh)
        space = loaded.space.after_store(fresh.at, judged.merged, fresh.payload.kind)
        archive = Archive(
            connection, user_id=user_id, run_id=job_id, version=space.version, now=fresh.at
        )
        await insert(connection, archive, space, fresh, judged)
        compacted = Compacted(space)
        if not self._deferral.allows(space):
            compacted = await compact(
                connection,
                archive,
                space,
                fresh.at,
                loaded.index,
                self._safeguard,
                just_stored=(judged.merged.kept.id,),
                unindexed={job_id: fresh.vector},
            )
        stored = outcome(fresh, judged, compacted)
        finished = {"id": job_id, "user_id": user_id, "result": stored.model_dump_json()}
        await connection.execute(statements.FINISH, compacted.space.counters() | finished)
        return _done(fresh, judged.merged, stored, compacted)

    def _catch_up(self, fresh: Fresh, done: Done) -> None:
        """Bring the cached index to the version just written."""
        self._loader.follow(
            fresh.payload.user_id,
            done.compacted.space,
            removed=done.removed,
            added={fresh.payload.id: fresh.vector} if done.is_added else {},
            are_new=True,
        )


def _done(fresh: Fresh, merged: Merge, stored: Stored, compacted: Compacted) -> Done:
    gone = tuple(one.id for one in merged.gone)
    return Done(
        stored,
        compacted,
        is_added=fresh.payload.id not in gone,
        removed=(*gone, *compacted.removed),
    )
