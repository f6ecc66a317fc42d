"""Writing a new memory beside, or in place of, those that it duplicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from bespoke_schemas.memories import Stored
from bespoke_workers.database.direct import Connection
from bespoke_workers.memories import statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compactor import Compacted
from bespoke_workers.memories.duplicates import Candidate, Merge
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.index import Hit
from bespoke_workers.memories.space import Space


@dataclass(frozen=True)
class Judged:
    """What a new memory duplicates, by similarity, and what becomes of them."""

    similarities: Mapping[UUID, float]
    found: Sequence[Candidate]
    merged: Merge

    def similarity(self, gone_id: UUID) -> float | None:
        """Return how alike one that goes is to the one that set it off."""
        return _similarity(self.similarities, gone_id, self.merged.kept.id)


async def insert(
    connection: Connection, archive: Archive, space: Space, fresh: Fresh, judged: Judged
) -> None:
    """Insert the new memory and move what is merged, maybe the new one itself, to the archive.

    The kept one takes over accesses and tags; the archive has each of the others as it was.
    """
    parameters = fresh.columns() | {"version": space.version}
    await connection.execute(statements.INSERT_MEMORY, parameters)
    await settle(
        connection,
        archive,
        fresh.payload.user_id,
        judged.merged,
        judged.similarities,
        fresh.at,
    )


async def settle(
    connection: Connection,
    archive: Archive,
    user_id: str,
    merged: Merge,
    similarities: Mapping[UUID, float],
    now: datetime,
) -> None:
    """Archive what is merged away; the kept one takes over accesses, tags and youngest age."""
    if not merged.gone:
        return
    kept = merged.kept
    await archive.take(
        [one.id for one in merged.gone],
        "duplicate",
        kept_id=kept.id,
        similarities=[_similarity(similarities, one.id, kept.id) for one in merged.gone],
    )
    taken_over = {
        "user_id": user_id,
        "id": kept.id,
        "access_count": kept.access_count,
        "last_accessed_at": kept.last_accessed_at,
        "tags": list(kept.tags),
        "age_from": kept.age_from,
        "now": now,
    }
    await connection.execute(statements.TAKE_OVER, taken_over)


async def duplicates(
    connection: Connection, space: Space, user_id: str, facts: str, similar: Sequence[Hit]
) -> list[Candidate]:
    """Read those of the similar memories whose facts agree, most similar first."""
    if not similar:
        return []
    parameters = {"user_id": user_id, "ids": [hit[0] for hit in similar]}
    found = (await connection.execute(statements.READ_CANDIDATES, parameters)).all()
    rows = {row.id: row for row in found}
    guarded = space.policy.dedup_guard
    return [
        candidate_of(row)
        for memory_id, _ in similar
        if (row := rows.get(memory_id)) and (not guarded or row.facts == facts)
    ]


def candidate_of(row: Row[Any]) -> Candidate:
    """Return the memory of a row that READ_CANDIDATES gave."""
    return Candidate(row.id, row.access_count, row.last_accessed_at, tuple(row.tags), row.age_from)


def outcome(fresh: Fresh, judged: Judged, compacted: Compacted) -> Stored:
    """Return the result of a store: what is kept, the most similar of the others, the counts."""
    merged = judged.merged
    if not merged.gone:
        return Stored(
            memory_id=fresh.payload.id,
            outcome="inserted",
            count=compacted.space.count,
            compaction=compacted.report,
        )
    nearest = max(merged.gone, key=lambda one: judged.similarities.get(one.id, -1.0))
    return Stored(
        memory_id=merged.kept.id,
        outcome="merged",
        merged_with=nearest.id,
        similarity=judged.similarity(nearest.id),
        count=compacted.space.count,
        compaction=compacted.report,
    )


def _similarity(similarities: Mapping[UUID, float], gone_id: UUID, kept_id: UUID) -> float | None:
    # Each pair has the new memory on one side, whichever of the two goes.
    return similarities.get(gone_id, similarities.get(kept_id))
