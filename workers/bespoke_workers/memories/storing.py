"""Storing one memory: embedded outside of any transaction, written by one guarded statement.

The statement holds only if the space is at the version that the cached index shows. Else what
changed is fetched and the search made again; after a few tries, or where a duplicate or a
compaction is to be dealt with, the space is locked first, so that progress is certain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import perf_counter
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import Store, Stored
from bespoke_workers.database import once
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Transient
from bespoke_workers.memories import statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compactor import Compacted, compact
from bespoke_workers.memories.duplicates import Candidate, Merge, merge
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.index import Hit
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.locking import locked
from bespoke_workers.memories.merging import duplicates, insert, outcome
from bespoke_workers.memories.space import NEVER, Space

UNIQUE_VIOLATION = "23505"
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
    ) -> None:
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
            done = await self._guarded(fresh)
            if done is None:
                effect = partial(self._write, fresh)
                done = await locked(self._database, payload, payload.user_id, effect)
            if isinstance(done, Stored):
                return done
            self._catch_up(fresh, done)
        done.compacted.tell(payload.user_id)
        return done.stored

    async def _guarded(self, fresh: Fresh) -> Done | Stored | None:
        """Store by one statement; None if that cannot be done, the recorded result if it was."""
        loaded = self._loader.cached(fresh.payload.user_id)
        for _ in range(GUARDED_TRIES):
            loaded = loaded or await self._load(fresh.payload.user_id)
            started = perf_counter()
            space = loaded.space.after_store(fresh.at, Merge(fresh.candidate), fresh.payload.kind)
            due = space.is_compaction_due(fresh.at)
            judged_ms = (perf_counter() - started) * 1000
            if due or await self._has_duplicates(loaded, fresh):
                return None
            stored = Stored(memory_id=fresh.payload.id, outcome="inserted", count=space.count)
            is_stored, is_repeated = await self._insert(fresh, space, stored)
            if is_stored:
                return Done(stored, Compacted(space, duration_ms=judged_ms), is_added=True)
            if is_repeated:
                return await self._recorded(fresh.payload)
            loaded = None
        return None

    async def _insert(self, fresh: Fresh, space: Space, stored: Stored) -> tuple[bool, bool]:
        """Return whether the memory is stored now, and whether its job was done before.

        ``space`` is as it is after that.
        """
        marks = space.counters()
        parameters = fresh.columns() | {
            "version": space.version - 1,
            "kind_marks": marks["kind_marks"],
            "policy_digest": space.policy_digest,
            "task": fresh.payload.task,
            "result": stored.model_dump_json(),
        }
        try:
            async with self._database.autocommit() as connection:
                row = (await connection.execute(statements.STORE, parameters)).one()
        except IntegrityError as error:
            if not _is_repeat(error):
                raise
            return False, True  # a job under this id was committed at the same moment
        return row.is_stored, row.is_repeated

    async def _recorded(self, payload: Store) -> Stored:
        async with self._database.transaction() as session:
            return await once.recorded(session, payload)

    async def _load(self, user_id: str) -> Loaded:
        """Return the user's index as of now, after making the space if this is the first store."""
        async with self._database.autocommit() as connection:
            return await self._load_or_create(connection, user_id)

    async def _load_or_create(self, connection: AsyncConnection, user_id: str) -> Loaded:
        loaded = await self._loader.load(connection, user_id)
        if loaded is None:
            created = {
                "user_id": user_id,
                "embedder": self._embedder.name,
                "dim": self._embedder.dim,
                "never": NEVER,  # without an access, nothing is low
            }
            await connection.execute(statements.CREATE_SPACE, created)
            loaded = await self._loader.load(connection, user_id)
        if loaded is None:
            raise Transient("the user's memories are being erased; the job is done after that")
        return loaded

    async def _has_duplicates(self, loaded: Loaded, fresh: Fresh) -> bool:
        """Whether any memory is a duplicate. Facts are not cached: few memories are so similar."""
        similar = self._similar(loaded, fresh)
        if not similar:
            return False
        async with self._database.autocommit() as connection:
            return bool(await self._duplicates(connection, loaded, fresh, similar))

    def _similar(self, loaded: Loaded, fresh: Fresh) -> list[Hit]:
        threshold = loaded.space.policy.threshold(self._embedder.threshold)
        return loaded.index.similar(fresh.vector, threshold)

    async def _duplicates(
        self, connection: AsyncConnection, loaded: Loaded, fresh: Fresh, similar: list[Hit]
    ) -> list[Candidate]:
        return await duplicates(
            connection, loaded.space, fresh.payload.user_id, fresh.facts, similar
        )

    async def _write(self, fresh: Fresh, connection: AsyncConnection) -> Done:
        """Store, merge and compact while the space is locked."""
        user_id, job_id = fresh.payload.user_id, fresh.payload.id
        loaded = await self._load_or_create(connection, user_id)
        similar = self._similar(loaded, fresh)
        found = await self._duplicates(connection, loaded, fresh, similar)
        merged = merge(fresh.candidate, found, loaded.space.age_cutoff(fresh.at))
        space = loaded.space.after_store(fresh.at, merged, fresh.payload.kind)
        archive = Archive(
            connection, user_id=user_id, run_id=job_id, version=space.version, now=fresh.at
        )
        await insert(connection, archive, space, fresh, merged, dict(similar))
        compacted = await compact(
            connection,
            archive,
            space,
            fresh.at,
            loaded.index,
            just_stored=(merged.kept.id,),
            unindexed={job_id: fresh.vector},
        )
        stored = outcome(fresh, merged, similar, compacted)
        finished = {"id": job_id, "user_id": user_id, "result": stored.model_dump_json()}
        await connection.execute(statements.FINISH, compacted.space.counters() | finished)
        gone = tuple(one.id for one in merged.gone)
        return Done(stored, compacted, job_id not in gone, (*gone, *compacted.removed))

    def _catch_up(self, fresh: Fresh, done: Done) -> None:
        """Bring the cached index to the version just written."""
        self._loader.follow(
            fresh.payload.user_id,
            done.compacted.space,
            removed=done.removed,
            added={fresh.payload.id: fresh.vector} if done.is_added else {},
        )


def _is_repeat(error: IntegrityError) -> bool:
    return getattr(error.orig, "sqlstate", None) == UNIQUE_VIOLATION
