"""Size compaction of the usual kind, judged by one statement instead of by every row.

A user who hovers at the limit has 200 of 1,000 memories removed again and again. What goes and
what stays then follows from an order and from counts, and PostgreSQL has the rows at hand.
`plan.py` is the rule; this comes to the same where it comes to anything.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from bespoke_workers.database.direct import Connection
from bespoke_workers.memories import compaction
from bespoke_workers.memories.compaction import Report, StrategyReport
from bespoke_workers.memories.space import Left, Space
from bespoke_workers.memories.statements import statement

JUDGE = statement("""
    WITH placed AS (
        SELECT id, access_count, GREATEST(created_at, renewed_at) AS age_from,
            row_number() OVER (
                ORDER BY id = ANY(:kept_ids), GREATEST(created_at, renewed_at, last_accessed_at),
                    GREATEST(created_at, renewed_at), id
            ) AS place
        FROM memory WHERE user_id = :user_id
    ), rest AS (
        SELECT count(*) AS count, min(age_from) AS oldest,
            coalesce(max(access_count), 0) AS most
        FROM placed WHERE place > :excess
    )
    SELECT count, oldest, most,
        (SELECT count(*) FROM placed WHERE place > :excess
            AND access_count < ceil(CAST(:low_access_threshold AS numeric) * rest.most)) AS low,
        ARRAY(SELECT id FROM placed WHERE place <= :excess ORDER BY place) AS gone
    FROM rest
""")
"""Find what was touched longest ago, and describe what is left without it.

What may not go comes last. Times that are null count for nothing.
"""


@dataclass(frozen=True)
class Evicted:
    """What size alone removes, in order, and what is left."""

    gone: tuple[UUID, ...]
    left: Left
    report: Report


async def evicted(
    connection: Connection,
    user_id: str,
    space: Space,
    now: datetime,
    just_stored: Collection[UUID],
) -> Evicted | None:
    """Return what compaction of a locked space removes; None if more than size may be due.

    ``space`` counts what is there. Nothing is changed.
    """
    policy = space.policy
    excess = compaction.size_excess(space.count, policy.max_memories)
    if not excess or policy.kinds or policy.eviction != "oldest":
        return None
    if excess > space.count - len(just_stored):
        return None  # there is no room even for what was just stored
    sought = {
        "user_id": user_id,
        "excess": excess,
        "kept_ids": list(just_stored),
        "low_access_threshold": str(policy.low_access_threshold),
    }
    row = (await connection.execute(JUDGE, sought)).one()
    return _alone(row, space, now, excess)


def _alone(row: Any, space: Space, now: datetime, excess: int) -> Evicted | None:
    """Return what was found, unless age or relevance have something to do with what is left."""
    if len(row.gone) != excess or row.count != space.count - excess:
        return None
    if compaction.age_due(row.oldest, space.age_cutoff(now)):
        return None
    if compaction.relevance_due(row.count, row.most, row.low, 0, space.pause):
        return None
    report = StrategyReport(excess, space.count, row.count, compaction.SIZE_TRIGGER)
    return Evicted(
        tuple(row.gone),
        Left(row.count, row.oldest, row.most, row.low),
        Report(size_compaction=report),
    )
