"""The rules of compaction, over counters alone, so that a store need not look at any row.

`plan.py` applies them to rows. All shares are whole-number arithmetic: 30 % is met exactly at 30
of 100, and 0.1 of 30 accesses is 3, whatever a float makes of it.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

RELEVANCE_LEAST_COUNT = 50  # of fewer memories, a share says little

RECENCY_WEIGHT, FREQUENCY_WEIGHT = 0.3, 0.7

# What set a strategy off, as reports say it.
SIZE_TRIGGER = "size_limit_exceeded"
KIND_TRIGGER = "kind_limit_exceeded"
AGE_TRIGGER = "age_limit_exceeded"
DEDUPLICATION_TRIGGER = "duplicates_found"
RELEVANCE_TRIGGER = "low_relevance"
FORCED = "forced"


def size_target(max_memories: int) -> int:
    """Return how many memories size compaction leaves: ⌊0.8 * max_memories⌋."""
    return max_memories * 4 // 5


def size_excess(count: int, max_memories: int, *, force: bool = False) -> int:
    """Return how many memories go: none up to the limit, beyond it all above the target.

    `force` does not wait for the limit: all above the target go.
    """
    if count <= max_memories and not force:
        return 0
    return max(count - size_target(max_memories), 0)


def is_more_than(share: float, removed_count: int, before_count: int) -> bool:
    """Whether a compaction removes more than a share, from 0 to 1, of what there was before."""
    return removed_count > Fraction(str(share)) * before_count


def age_cutoff(now: datetime, max_age_days: int) -> datetime:
    """Return the moment before which (strictly) a memory's age began too long ago."""
    return now - timedelta(days=max_age_days)


def age_due(oldest_created_at: datetime | None, cutoff: datetime) -> bool:
    """Whether any memory is too old, judged by the oldest one."""
    return oldest_created_at is not None and oldest_created_at < cutoff


def low_below(most_accessed: int, low_access_threshold: float) -> int:
    """Return the least access count that is not low: a memory is low if it has fewer accesses."""
    share = Fraction(str(low_access_threshold)) * most_accessed
    return -(-share.numerator // share.denominator)


def is_low(access_count: int, most_accessed: int, low_access_threshold: float) -> bool:
    """Whether a memory's accesses are below that share of the user's most accessed memory's."""
    return access_count < low_below(most_accessed, low_access_threshold)


def relevance_due(
    count: int,
    most_accessed: int,
    low_count: int,
    stored_since_prune: int = 0,
    removed_by_last_prune: int = 0,
) -> bool:
    """Whether at least 30 % of at least 50 memories are low, some having been accessed at all.

    Not again before as many were stored since the last pruning as it removed: else each store
    would prune once more, until 49 are left.
    """
    least = low_count_due(count, stored_since_prune, removed_by_last_prune)
    return most_accessed > 0 and least is not None and low_count >= least


def low_count_due(
    count: int, stored_since_prune: int = 0, removed_by_last_prune: int = 0
) -> int | None:
    """Return from how many low memories on a pruning is due; None: from no number on."""
    if count < RELEVANCE_LEAST_COUNT or stored_since_prune < removed_by_last_prune:
        return None
    return -(-3 * count // 10)


def relevance_quota(count: int) -> int:
    """Return how many memories a pruning removes: the bottom 20 %, rounded down."""
    return count // 5


def relevance_score(access_count: int, most_accessed: int, age_days: float) -> float:
    """Return 0.7 of the access frequency plus 0.3 of the recency, from 0 to 1.

    The frequency is relative to the most accessed memory; `age_days` counts as the age rule does.
    """
    frequency = access_count / most_accessed if most_accessed else 0.0
    return FREQUENCY_WEIGHT * frequency + RECENCY_WEIGHT / (1 + max(age_days, 0.0))


def stores_until_relevance(count: int, low_count: int) -> int:
    """Return the least number of further stores after which a pruning could be due.

    Each store adds one memory that is low; neither accesses nor removals are foreseen, and both
    call for a new look. The pause after a pruning is not counted in.
    """
    # The least k with 10 * (low + k) >= 3 * (count + k), and count + k >= 50.
    to_share = -((10 * low_count - 3 * count) // 7)
    return max(to_share, RELEVANCE_LEAST_COUNT - count, 0)


def keeps(a_access: int, a_age_from: datetime, b_access: int, b_age_from: datetime) -> bool:
    """Whether of two duplicates the first is kept: more accesses, on a tie the newer one.

    On a tie in both it is the first.
    """
    return (a_access, a_age_from) >= (b_access, b_age_from)


@dataclass(frozen=True)
class StrategyReport:
    """What one strategy did, in the documents' words: counts of one user's memories."""

    removed_count: int
    before_count: int
    after_count: int
    trigger: str


@dataclass(frozen=True)
class Report:
    """What one compaction did; a strategy that was not set off is None."""

    size_compaction: StrategyReport | None = None
    age_compaction: StrategyReport | None = None
    deduplication: StrategyReport | None = None
    relevance_pruning: StrategyReport | None = None

    @property
    def total_compacted(self) -> int:
        """How many memories all strategies removed together."""
        strategies = (
            self.size_compaction,
            self.age_compaction,
            self.deduplication,
            self.relevance_pruning,
        )
        return sum(report.removed_count for report in strategies if report is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return it by the documents' keys, as `bespoke_schemas.memories.Compaction` reads it."""
        return {**asdict(self), "total_compacted": self.total_compacted}
