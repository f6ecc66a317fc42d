"""Payloads of compaction: what it did, and asking for it."""

from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Moment, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class StrategyReport(Result):
    """What one compaction strategy did: counts of one user's memories."""

    removed_count: int
    before_count: int
    after_count: int
    trigger: str


class Compaction(Result):
    """What one inline compaction did; a strategy that had nothing to do is None."""

    size_compaction: StrategyReport | None = None
    age_compaction: StrategyReport | None = None
    deduplication: StrategyReport | None = None
    relevance_pruning: StrategyReport | None = None
    total_compacted: int = 0


class Compact(Payload[Compaction], queue=Queue.MEMORIES):
    """Compact a user's memories as far as each strategy's trigger says; ``force`` runs all four.

    Other than a store, it holds the memories against each other: those there before a change
    of threshold may be duplicates.
    """

    user_id: UserId
    force: bool = False


class CompactionRun(Result):
    """One compaction that removed something. ``id`` is that of the job that it was part of."""

    id: UUID
    at: Moment
    report: Compaction


class Compactions(Result):
    """A page of compactions, newest first, and how many there are in all."""

    runs: tuple[CompactionRun, ...]
    total: int


class ListCompactions(Payload[Compactions], queue=Queue.READS):
    """List the compactions of a user's memories, newest first."""

    user_id: UserId
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)
