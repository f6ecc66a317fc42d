"""Inline compaction: judged by counters, planned over rows, done by a statement per strategy."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from uuid import UUID

from numpy.typing import ArrayLike

from bespoke_schemas.memories import Compaction
from bespoke_workers.database.direct import Connection
from bespoke_workers.memories import plan, statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.index import UserIndex
from bespoke_workers.memories.neighbours import neighbours
from bespoke_workers.memories.oldest_first import evict
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.memories.scoring import ScoringFailed
from bespoke_workers.memories.space import Space
from bespoke_workers.observe import events

NOTHING = Compaction()
STRATEGIES = ("size_compaction", "age_compaction", "deduplication", "relevance_pruning")


@dataclass(frozen=True)
class Compacted:
    """What a check came to: the space after it, what is gone and the report."""

    space: Space
    removed: tuple[UUID, ...] = ()
    report: Compaction = NOTHING
    duration_ms: float = 0.0
    failure: ScoringFailed | None = None

    def tell(self, user_id: str) -> None:
        """Emit the events of a check whose transaction is committed."""
        events.emit(
            "dspy.memory.compaction_check",
            user_id=user_id,
            duration_ms=round(self.duration_ms, 3),
            removed_count=self.report.total_compacted,
        )
        if self.failure is not None:
            events.emit("dspy.memory.scoring_failed", user_id=user_id, reason=str(self.failure))
        for strategy in STRATEGIES:
            done = getattr(self.report, strategy)
            if done is not None:
                events.emit(f"dspy.memory.{strategy}", user_id=user_id, **done.model_dump())
        if self.report.total_compacted:
            events.emit(
                "dspy.memory.compaction_complete",
                user_id=user_id,
                removed_count=self.report.total_compacted,
                before_count=self.space.count + self.report.total_compacted,
                after_count=self.space.count,
                exported_to=self.report.exported_to,
            )


async def compact(
    connection: Connection,
    archive: Archive,
    space: Space,
    now: datetime,
    index: UserIndex,
    safeguard: Safeguard,
    *,
    just_stored: Collection[UUID] = (),
    unindexed: Mapping[UUID, ArrayLike] | None = None,
) -> Compacted:
    """Compact a space that this transaction has locked, if a trigger says so.

    ``index`` shows the space as it was before this transaction; ``unindexed`` are the vectors of
    what it has stored. ``just_stored`` are those of them that stay, and what others were merged
    into: they are not removed.
    """
    started = perf_counter()
    if not space.is_compaction_due(now):
        return Compacted(space, duration_ms=(perf_counter() - started) * 1000)
    size = await evict(connection, archive, space, now, just_stored, safeguard)
    if size is not None:
        after = space.after_eviction(size.left)
        return Compacted(after, size.gone, size.report, (perf_counter() - started) * 1000)
    rows = await standings(connection, archive.user_id)
    alike = await neighbours(
        connection,
        archive.user_id,
        index,
        rows,
        space.policy,
        just_stored=just_stored,
        unindexed=unindexed,
    )
    planned = plan.plan(
        rows,
        space.policy,
        now,
        just_stored=just_stored,
        pause=space.pause,
        neighbours=alike,
        lenient=True,  # what the user has just said is not lost for it
    )
    report = await safeguard.report(connection, archive, planned.report, planned.before_count)
    await archive.take_all(planned)
    if planned.removed:
        await archive.record(report)
    return Compacted(
        space.after_compaction(planned),
        planned.removed,
        report,
        (perf_counter() - started) * 1000,
        planned.failure,
    )


async def standings(connection: Connection, user_id: str) -> list[plan.Row]:
    """Read of every memory of a user what compaction judges it by."""
    found = (await connection.execute(statements.READ_STANDINGS, {"user_id": user_id})).all()
    return [plan.Row(*row) for row in found]  # its columns, in their order
