"""Writing a new memory beside, or in place of, those that it duplicates."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import Stored
from bespoke_workers.memories import statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compactor import Compacted
from bespoke_workers.memories.duplicates import Candidate, Merge
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.index import Hit
from bespoke_workers.memories.space import Space


async def insert(
    connection: AsyncConnection,
    archive: Archive,
    space: Space,
    fresh: Fresh,
    merged: Merge,
    similarities: Mapping[UUID, float],
) -> None:
    """Insert the new memory and move what is merged, maybe the new one itself, to the archive.

    The kept one takes over accesses and tags; the archive has each of the others as it was.
    """
    parameters = fresh.columns() | {"version": space.version}
    await connection.execute(statements.INSERT_MEMORY, parameters)
    await settle(connection, archive, fresh.payload.user_id, merged, similarities, fresh.at)


async def settle(
    connection: AsyncConnection,
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
        # Each pair has the new memory on one side, whichever of the two goes.
        similarities=[similarities.get(one.id, similarities.get(kept.id)) for one in merged.gone],
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
    connection: AsyncConnection, space: Space, user_id: str, facts: str, similar: Sequence[Hit]
) -> list[Candidate]:
    """Read those of the similar memories whose facts agree, most similar first."""
    if not similar:
        return []
    parameters = {"user_id": user_id, "ids": [hit[0] for hit in similar]}
    found = await connection.execute(statements.READ_CANDIDATES, parameters)
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


def outcome(fresh: Fresh, merged: Merge, similar: Sequence[Hit], compacted: Compacted) -> Stored:
    """Return the result of a store: what is kept, the most similar of the others, the counts."""
    if not merged.gone:
        return Stored(
            memory_id=fresh.payload.id,
            outcome="inserted",
            count=compacted.space.count,
            compaction=compacted.report,
        )
    similarities = dict(similar)
    nearest = max(merged.gone, key=lambda one: similarities.get(one.id, -1.0))
    return Stored(
        memory_id=merged.kept.id,
        outcome="merged",
        merged_with=nearest.id,
        similarity=similarities.get(nearest.id, similarities.get(merged.kept.id)),
        count=compacted.space.count,
        compaction=compacted.report,
    )
