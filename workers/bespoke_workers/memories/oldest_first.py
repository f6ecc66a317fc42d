"""Size compaction of the usual kind: judged and done by one statement, past every row.

A user who hovers at the limit has 200 of 1,000 memories removed again and again. What goes and
what stays then follows from an order and from counts, and PostgreSQL has the rows at hand.
`plan.py` is the rule; this comes to the same where it comes to anything.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bespoke_schemas.memories import Compaction
from bespoke_workers.database.direct import Connection
from bespoke_workers.memories import compaction
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compaction import Report, StrategyReport
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.memories.space import Left, Space
from bespoke_workers.memories.statements import (
    ARCHIVED,
    INTO_ARCHIVE,
    INTO_COMPACTIONS,
    statement,
)

EVICT = statement(f"""
    WITH placed AS MATERIALIZED (
        SELECT id, access_count AS reads, GREATEST(created_at, renewed_at) AS age_from,
            row_number() OVER (
                ORDER BY id = ANY(:kept_ids), GREATEST(created_at, renewed_at, last_accessed_at),
                    GREATEST(created_at, renewed_at), id
            ) AS place
        FROM memory WHERE user_id = :user_id
    ), stays AS MATERIALIZED (
        SELECT count(*) AS count, min(age_from) AS oldest, coalesce(max(reads), 0) AS most
        FROM placed WHERE place > :excess
    ), bound AS MATERIALIZED (
        SELECT CAST(ceil(CAST(:low_access_threshold AS numeric) * most) AS bigint) AS low_below
        FROM stays
    ), alone AS MATERIALIZED (
        SELECT stays.*, low FROM stays CROSS JOIN (
            SELECT count(*) AS low FROM placed CROSS JOIN bound
            WHERE place > :excess AND reads < low_below
        ) AS counted
        WHERE count = :left AND (oldest IS NULL OR oldest >= :oldest_before)
            AND (most = 0 OR :low_due IS NULL OR low < :low_due)
    ), removed AS (
        DELETE FROM memory USING placed, alone
        WHERE memory.user_id = :user_id AND memory.id = placed.id AND place <= :excess
        RETURNING memory.id, user_id, {ARCHIVED},
            CAST(NULL AS uuid) AS kept_id, CAST(NULL AS double precision) AS similarity
    ), moved AS (
        {INTO_ARCHIVE}
    ), recorded AS (
        {INTO_COMPACTIONS} FROM alone
    )
    SELECT oldest, most, low, (SELECT count(*) FROM moved) AS moved,
        ARRAY(SELECT id FROM placed WHERE place <= :excess ORDER BY place) AS gone
    FROM alone
""")  # noqa: S608  # no part of it comes from outside
"""Archive what was touched longest ago, keep the report, and describe what is left.

No row and no change where age or relevance have something to do with what is left. What may not
go comes last. Times that are null count for nothing.
"""


@dataclass(frozen=True)
class Evicted:
    """What size alone has removed, in order, and what is left."""

    gone: tuple[UUID, ...]
    left: Left
    report: Compaction


async def evict(
    connection: Connection,
    archive: Archive,
    space: Space,
    now: datetime,
    just_stored: Collection[UUID],
    safeguard: Safeguard,
) -> Evicted | None:
    """Compact a locked space that is above its limit; None if more than size may be due.

    ``space`` counts what is there. Where it returns None, nothing is changed. Raises Transient
    if the archive took less than what goes.
    """
    policy = space.policy
    excess = compaction.size_excess(space.count, policy.max_memories)
    if not excess or policy.kinds or policy.eviction != "oldest":
        return None
    if excess > space.count - len(just_stored):
        return None  # there is no room even for what was just stored
    if safeguard.guards(excess, space.count):
        return None  # what goes is told before anything does
    left = space.count - excess
    size = StrategyReport(excess, space.count, left, compaction.SIZE_TRIGGER)
    report = Compaction.model_validate(Report(size_compaction=size).as_dict())
    sought = {
        "excess": excess,
        "left": left,
        "kept_ids": list(just_stored),
        "oldest_before": space.age_cutoff(now),
        "low_access_threshold": str(policy.low_access_threshold),
        "low_due": compaction.low_count_due(left, 0, space.pause),
        "reason": "size",
        "report": report.model_dump_json(),
    }
    row = (await connection.execute(EVICT, archive.run | sought)).first()
    if row is None:
        return None
    archive.require(row.moved, excess)
    return Evicted(tuple(row.gone), Left(left, row.oldest, row.most, row.low), report)
