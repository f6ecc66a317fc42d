"""Writing a new memory beside, or in place of, those that it duplicates."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import Stored
from bespoke_workers.memories import statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compactor import Compacted
from bespoke_workers.memories.duplicates import Merge
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
        "user_id": fresh.payload.user_id,
        "id": kept.id,
        "access_count": kept.access_count,
        "last_accessed_at": kept.last_accessed_at,
        "tags": list(kept.tags),
        "now": fresh.at,
    }
    await connection.execute(statements.TAKE_OVER, taken_over)


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
