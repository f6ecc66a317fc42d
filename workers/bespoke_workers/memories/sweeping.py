"""Compaction that is asked for, over all of one user's memories."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from bespoke_schemas.fields import TAG_LIMIT
from bespoke_schemas.memories import Compact, Compaction
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Refused
from bespoke_workers.memories import deferral, plan, statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compactor import NOTHING, Compacted, standings
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import from_bytes
from bespoke_workers.memories.loading import Loaded, Loader
from bespoke_workers.memories.locking import locked
from bespoke_workers.memories.neighbours import neighbours
from bespoke_workers.memories.pairing import Pairing
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.memories.space import Space

PROBES = 2_000
"""How many memories are held against all others: all of them, or in a larger space the newest.

Each takes a look through the whole index, while nobody can store for this user.
"""


class Sweeping:
    """Compacts the memories of any user."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        embedder: Embedder,
        default: Defaults,
        clock: Callable[[], datetime],
        safeguard: Safeguard,
    ) -> None:
        self._safeguard = safeguard
        self._database = database
        self._loader = loader
        self._embedder = embedder
        self._default = default
        self._clock = clock

    async def compact(self, payload: Compact) -> Compaction:
        """Compact a user's memories; once per job id. What goes is in the archive.

        Raises Refused if the id belongs to another job, OtherEmbedder if the user's memories
        are of another embedder, Transient if the database is away.
        """
        user_id = whose(payload)
        async with self._loader.turn(user_id):
            effect, absent = partial(self._compact, payload), partial(_nothing, payload)
            compacted = await locked(self._database, payload, user_id, effect, absent)
            if isinstance(compacted, Compaction):
                return compacted
            self._loader.follow(user_id, compacted.space, removed=compacted.removed)
        compacted.tell(user_id)
        return compacted.report

    async def _compact(self, payload: Compact, connection: Connection) -> Compacted | Compaction:
        sweep = self._age if payload.age_only else self._sweep
        compacted = await sweep(connection, payload, whose(payload))
        finished = _finished(payload, compacted.report)
        await connection.execute(statements.FINISH, compacted.space.counters() | finished)
        return compacted

    async def _age(self, connection: Connection, payload: Compact, user_id: str) -> Compacted:
        """Remove what is too old, for which neither index nor embedder is needed."""
        started, now = perf_counter(), self._clock()
        row = (await connection.execute(statements.READ_SPACE, {"user_id": user_id})).one()
        space = Space.of(row, self._default)
        if not space.is_age_due(now):
            return Compacted(space)
        rows = await standings(connection, user_id)
        planned = plan.aged(rows, space.policy, now, pause=space.pause)
        space, report = await self._carried_out(connection, payload, space, planned, now)
        return Compacted(space, planned.removed, report, (perf_counter() - started) * 1000)

    async def _sweep(self, connection: Connection, payload: Compact, user_id: str) -> Compacted:
        started, now = perf_counter(), self._clock()
        loaded = await self._loader.load_locked(connection, user_id)
        planned, pairing = await planned_over_all(connection, loaded, self._embedder, payload, now)
        space, report = await self._carried_out(
            connection, payload, loaded.space, planned, now, pairing
        )
        is_asked_for = payload.id == deferral.job_id(user_id, space)
        if not planned.removed and (is_asked_for or space.is_compaction_due(now)):
            # This one need not be asked for again, and the next one is another job.
            space = space.next_version().after_compaction(planned)
        return Compacted(space, planned.removed, report, (perf_counter() - started) * 1000)

    async def _carried_out(
        self,
        connection: Connection,
        payload: Compact,
        space: Space,
        planned: plan.Plan,
        now: datetime,
        pairing: Pairing | None = None,
    ) -> tuple[Space, Compaction]:
        """Archive and record what is planned; return the space after it and the report."""
        if not planned.removed:
            return space, Compaction.model_validate(planned.report.as_dict())
        space, user_id = space.next_version(), whose(payload)
        archive = Archive(
            connection, user_id=user_id, run_id=payload.id, version=space.version, now=now
        )
        report = await self._safeguard.report(
            connection, archive, planned.report, planned.before_count
        )
        if pairing is not None:
            await _merge(connection, archive, user_id, planned, pairing, now)
        await archive.take_all(planned)
        await archive.record(report)
        return space.after_compaction(planned), report


async def _nothing(payload: Compact, connection: Connection) -> Compacted | Compaction:
    """Compact the memories of a user who has none."""
    await connection.execute(statements.ANSWER, _finished(payload, NOTHING))
    return NOTHING


def _finished(payload: Compact, report: Compaction) -> dict[str, Any]:
    return {"id": payload.id, "user_id": whose(payload), "result": report.model_dump_json()}


async def planned_over_all(
    connection: Connection,
    loaded: Loaded,
    embedder: Embedder,
    payload: Compact,
    now: datetime,
) -> tuple[plan.Plan, Pairing]:
    """Plan the compaction of a user's memories, held against each other; change nothing."""
    user_id, space = whose(payload), loaded.space
    pairing = await _pairing(connection, loaded, embedder, user_id)
    rows = await standings(connection, user_id)
    alike = await neighbours(
        connection, user_id, loaded.index, rows, space.policy, force=payload.force
    )
    planned = plan.plan(
        rows,
        space.policy,
        now,
        force=payload.force,
        pairs=pairing,
        pause=space.pause,
        neighbours=alike,
    )
    return planned, pairing


async def _pairing(
    connection: Connection, loaded: Loaded, embedder: Embedder, user_id: str
) -> Pairing:
    parameters = {"user_id": user_id, "probes": PROBES}
    rows = (await connection.execute(statements.READ_PROBES, parameters)).all()
    policy, dim = loaded.space.policy, loaded.space.dim
    return Pairing(
        loaded.index,
        policy.threshold(embedder.threshold),
        {row.id: from_bytes(row.embedding, dim) for row in rows if row.embedding is not None},
        {row.id: row.facts for row in rows} if policy.dedup_guard else None,
    )


def whose(payload: Compact) -> str:
    """Return the user whose memories are compacted; raises Refused where it is everybody."""
    if payload.user_id is None:
        raise Refused("user_id: got None, expected one user; everybody's compaction is a round")
    return payload.user_id


async def _merge(
    connection: Connection,
    archive: Archive,
    user_id: str,
    planned: plan.Plan,
    pairing: Pairing,
    now: datetime,
) -> None:
    """Archive each duplicate, and give what stays in its place its accesses and tags."""
    if not planned.merged:
        return
    ids = [*planned.merged, *planned.merged.values()]
    parameters = {"user_id": user_id, "ids": ids}
    rows = (await connection.execute(statements.READ_CANDIDATES, parameters)).all()
    await archive.take(
        list(planned.merged),
        "deduplication",
        kept_id=planned.merged,
        similarities=[pairing.cosines.get(frozenset(pair)) for pair in planned.merged.items()],
    )
    merged = {
        "user_id": user_id,
        "now": now,
        "merged": json.dumps(taken_over(planned.merged, rows)),
    }
    await connection.execute(statements.MERGE_MANY, merged)


def taken_over(merged: dict[UUID, UUID], rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Return what each memory that stays has after taking over those merged into it, as JSON.

    ``rows`` are those of READ_CANDIDATES. Tags over the limit stay in the archive.
    """
    groups: dict[UUID, list[Row[Any]]] = {kept: [] for kept in merged.values()}
    for row in sorted(rows, key=lambda row: row.id in merged):  # the kept one's tags come first
        groups[merged.get(row.id, row.id)].append(row)
    return [
        {
            "id": str(kept),
            "access_count": sum(row.access_count for row in group),
            "last_accessed_at": _latest(group),
            "age_from": max(row.age_from for row in group).isoformat(),
            "tags": list(dict.fromkeys(tag for row in group for tag in row.tags))[:TAG_LIMIT],
        }
        for kept, group in groups.items()
    ]


def _latest(group: Sequence[Row[Any]]) -> str | None:
    accesses = [row.last_accessed_at for row in group if row.last_accessed_at is not None]
    return max(accesses).isoformat() if accesses else None
