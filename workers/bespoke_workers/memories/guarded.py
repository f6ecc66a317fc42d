"""The write of a store in one statement that holds only if what it was judged by still does."""

from enum import Enum
from typing import Any, Literal

from bespoke_schemas.memories import Stored
from bespoke_workers.database.direct import Connection, Taken
from bespoke_workers.memories import merge_statements, statements
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.merging import Judged
from bespoke_workers.memories.space import Space


class Refusal(Enum):
    """Why nothing was written. ``BEYOND`` is what takes more than one statement."""

    MOVED = "the space has changed"
    REPEATED = "the job was done before"
    BEYOND = "a compaction is due, or several memories go"


MOVED: Literal[Refusal.MOVED] = Refusal.MOVED
REPEATED: Literal[Refusal.REPEATED] = Refusal.REPEATED
BEYOND: Literal[Refusal.BEYOND] = Refusal.BEYOND


async def write(
    connection: Connection,
    space: Space,
    fresh: Fresh,
    judged: Judged,
    stored: Stored,
    *,
    may_wait: bool = False,
) -> Refusal | None:
    """Write a store that leads to ``space``, unless the database is not a version before it.

    Nor where relevance has to be looked at, unless that ``may_wait``.
    """
    merged = judged.merged
    if len(merged.gone) > 1:
        return BEYOND
    parameters = _parameters(space, fresh, stored) | {"may_wait": may_wait}
    statement = statements.STORE
    if merged.gone:
        is_kept = merged.kept.id == fresh.payload.id
        statement = merge_statements.REPLACE if is_kept else merge_statements.ABSORB
        parameters |= _weighed(judged)
    try:
        row = (await connection.execute(statement, parameters)).one()
    except Taken:  # a job under this id is committed
        return REPEATED
    if row.is_stored:
        return None
    return REPEATED if row.is_repeated else MOVED


def _parameters(space: Space, fresh: Fresh, stored: Stored) -> dict[str, Any]:
    return fresh.columns() | {
        "version": space.version - 1,
        "kind_marks": space.counters()["kind_marks"],
        "policy_digest": space.policy_digest,
        "task": fresh.payload.task,
        "result": stored.model_dump_json(),
    }


def _weighed(judged: Judged) -> dict[str, Any]:
    """Return the parameters of REPLACE and ABSORB that describe the merge."""
    kept, (gone,) = judged.merged.kept, judged.merged.gone
    return {
        "ids": [one.id for one in judged.found],
        "access_counts": [one.access_count for one in judged.found],
        "gone_id": gone.id,
        "similarity": judged.similarity(gone.id),
        "kept_id": kept.id,
        "kept_tags": list(kept.tags),
        "access_count": kept.access_count,
        "last_accessed_at": kept.last_accessed_at,
        "age_from": kept.age_from,
    }
