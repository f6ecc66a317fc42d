"""Compaction over rows in memory: the reference that every store's compaction must agree with."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from bespoke_workers.memories import compaction, scoring
from bespoke_workers.memories.compaction import Report, StrategyReport
from bespoke_workers.memories.eviction import Neighbours, evicted
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.scoring import ScoringFailed


class Row(NamedTuple):  # a thousand are made for each compaction, in half a dataclass's time
    """What compaction reads of one memory. Times are aware.

    `renewed_at` is when the memory was last said again or restored; None if never.
    """

    id: UUID
    created_at: datetime
    access_count: int = 0
    last_accessed_at: datetime | None = None
    renewed_at: datetime | None = None
    kind: str = "fact"

    @property
    def age_from(self) -> datetime:
        """The moment from which a memory's age counts: what was said again is as new."""
        return self.created_at if self.renewed_at is None else max(self.created_at, self.renewed_at)

    @property
    def touched_at(self) -> datetime:
        """The later of the moment from which its age counts and the last access."""
        accessed = self.last_accessed_at
        return self.age_from if accessed is None else max(self.age_from, accessed)


Pairs = Callable[[Sequence[Row]], Iterable[tuple[UUID, UUID]]]
"""Names the duplicates among rows; of overlapping pairs, the first one counts."""


@dataclass(frozen=True)
class Plan:
    """What goes, by strategy and in order, and what is left of the rows.

    `merged` names for each duplicate removed the memory that stays in its place, which takes over
    its accesses in `kept`. `pause` is how many memories must be stored before the next pruning.
    `failure` is why relevance, which was due, could judge nothing.
    """

    size: tuple[UUID, ...]
    age: tuple[UUID, ...]
    merged: dict[UUID, UUID]
    relevance: tuple[UUID, ...]
    kept: tuple[Row, ...]
    report: Report
    pause: int
    failure: ScoringFailed | None = None

    @property
    def removed(self) -> tuple[UUID, ...]:
        """All that goes."""
        return (*self.size, *self.age, *self.merged, *self.relevance)

    @property
    def before_count(self) -> int:
        """How many rows there were."""
        return len(self.kept) + len(self.removed)


def plan(
    rows: Sequence[Row],
    policy: Policy,
    now: datetime,
    *,
    just_stored: Collection[UUID] = (),
    force: bool = False,
    pairs: Pairs | None = None,
    pause: int = 0,
    neighbours: Neighbours | None = None,
    lenient: bool = False,
) -> Plan:
    """Return what compaction of one user's rows removes; nothing is changed.

    Size, age, deduplication and relevance follow each other, each judged on what the one before
    left. What was just stored never goes, but for the oldest of it where that alone is more than
    `max_memories`. `force` sets off all four, whatever their triggers. `pause` is how many
    memories still have to be stored before the next pruning, `neighbours` what an eviction of the
    redundant goes by.

    Raises ScoringFailed where relevance is due and the policy's scoring fails; a `lenient` plan
    leaves relevance out then, and pauses it as if it had pruned.
    """
    kept = list(rows)
    size = evicted(kept, policy, just_stored=just_stored, force=force, neighbours=neighbours)
    limit = compaction.SIZE_TRIGGER if size.by_count else compaction.KIND_TRIGGER
    kept, size_report = _without(kept, size.all, limit, force)
    age = _too_old(kept, policy, now, just_stored)
    kept, age_report = _without(kept, age, compaction.AGE_TRIGGER, force)
    merged, kept, merge_report = _deduplicated(kept, pairs, just_stored, force)
    failure = None
    try:
        relevance = _irrelevant(kept, policy, now, just_stored, force, pause)
    except ScoringFailed as error:
        if not lenient:
            raise
        relevance, failure, pause = [], error, compaction.relevance_quota(len(kept))
    kept, relevance_report = _without(kept, relevance, compaction.RELEVANCE_TRIGGER, force)
    return Plan(
        size=size.all,
        age=tuple(age),
        merged=merged,
        relevance=tuple(relevance),
        kept=tuple(kept),
        report=Report(size_report, age_report, merge_report, relevance_report),
        pause=len(relevance) or pause,
        failure=failure,
    )


def aged(rows: Sequence[Row], policy: Policy, now: datetime, *, pause: int = 0) -> Plan:
    """Return what age alone removes; nothing is changed."""
    gone = _too_old(list(rows), policy, now, ())
    kept, report = _without(list(rows), gone, compaction.AGE_TRIGGER, force=False)
    return Plan(
        size=(),
        age=tuple(gone),
        merged={},
        relevance=(),
        kept=tuple(kept),
        report=Report(age_compaction=report),
        pause=pause,
    )


def _too_old(
    rows: list[Row], policy: Policy, now: datetime, just_stored: Collection[UUID]
) -> list[UUID]:
    cutoffs = {
        kind: compaction.age_cutoff(now, policy.age_days(kind))
        for kind in {row.kind for row in rows}
    }
    return [
        row.id for row in rows if row.age_from < cutoffs[row.kind] and row.id not in just_stored
    ]


def _deduplicated(
    rows: list[Row], pairs: Pairs | None, just_stored: Collection[UUID], force: bool
) -> tuple[dict[UUID, UUID], list[Row], StrategyReport | None]:
    if pairs is None:
        return {}, rows, _report(len(rows), 0, compaction.DEDUPLICATION_TRIGGER, force)
    by_id = {row.id: row for row in rows}
    merged: dict[UUID, UUID] = {}
    for a, b in pairs(rows):
        if a not in by_id or b not in by_id or a == b:
            continue  # one of them went with an earlier pair
        keep, go = judged(by_id[a], by_id[b], just_stored)
        merged[go.id] = keep.id
        by_id[keep.id] = taking_over(keep, go)
        del by_id[go.id]
    report = _report(len(rows), len(merged), compaction.DEDUPLICATION_TRIGGER, force)
    return {gone: _last(merged, gone) for gone in merged}, list(by_id.values()), report


def _last(merged: dict[UUID, UUID], merged_id: UUID) -> UUID:
    """What stands for a memory in the end: what it was merged into may have been merged too."""
    while merged_id in merged:
        merged_id = merged[merged_id]
    return merged_id


def judged(a: Row, b: Row, just_stored: Collection[UUID] = ()) -> tuple[Row, Row]:
    """Return of two duplicates the one that is kept and the one that goes."""
    # Pairs come in any order; the id decides where accesses and creation are the same.
    a, b = (a, b) if a.id > b.id else (b, a)
    keeps_a = compaction.keeps(a.access_count, a.age_from, b.access_count, b.age_from)
    if (a.id in just_stored) != (b.id in just_stored):
        keeps_a = a.id in just_stored
    return (a, b) if keeps_a else (b, a)


def taking_over(keep: Row, go: Row) -> Row:
    """Return the one kept with the accesses of both, as young as the younger."""
    accesses = [at for at in (keep.last_accessed_at, go.last_accessed_at) if at is not None]
    return keep._replace(
        access_count=keep.access_count + go.access_count,
        last_accessed_at=max(accesses, default=None),
        renewed_at=max(keep.age_from, go.age_from),
    )


def _irrelevant(
    rows: list[Row],
    policy: Policy,
    now: datetime,
    just_stored: Collection[UUID],
    force: bool,
    pause: int,
) -> list[UUID]:
    most = max((row.access_count for row in rows), default=0)
    low_below = compaction.low_below(most, policy.low_access_threshold)
    low = sum(row.access_count < low_below for row in rows)
    forced = force and most > 0  # without any access, nothing tells one memory from another
    if not forced and not compaction.relevance_due(len(rows), most, low, 0, pause):
        return []

    score = scoring.judge(policy.scoring)

    def worth(row: Row) -> tuple[float, datetime, UUID]:
        age_days = (now - row.age_from) / timedelta(days=1)
        return (
            score(row.access_count, most, age_days),
            row.age_from,
            row.id,
        )

    order = sorted((row for row in rows if row.id not in just_stored), key=worth)
    return [row.id for row in order[: compaction.relevance_quota(len(rows))]]


def _without(
    rows: list[Row], removed: Sequence[UUID], trigger: str, force: bool
) -> tuple[list[Row], StrategyReport | None]:
    gone = set(removed)
    kept = [row for row in rows if row.id not in gone] if gone else rows
    return kept, _report(len(rows), len(removed), trigger, force)


def _report(before: int, removed: int, trigger: str, force: bool) -> StrategyReport | None:
    if not removed and not force:
        return None
    return StrategyReport(
        removed_count=removed,
        before_count=before,
        after_count=before - removed,
        trigger=compaction.FORCED if force else trigger,
    )
