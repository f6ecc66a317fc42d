"""Payloads of compaction: what it did, and asking for it."""

from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from bespoke_schemas.fields import Moment, Name, Offset, OwnerId
from bespoke_schemas.memories.sharing import InSpace, shared_owner
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class StrategyReport(Result):
    """What one compaction strategy did: counts of one user's memories."""

    removed_count: int
    before_count: int
    after_count: int
    trigger: str


class Round(Result):
    """What a compaction of everybody came to, in counts of users.

    ``compacted`` are those from whom something was removed. ``errors`` are the reasons by user of
    those who ``failed``, the first hundred of them.
    """

    users: int
    compacted: int
    failed: int
    errors: dict[str, str] = Field(default_factory=dict)


class Compaction(Result):
    """What one compaction did; a strategy that had nothing to do is None.

    ``exported_to`` is the URL of a record file of all that there was before, if one was written.
    Of a compaction of everybody the counts are sums over the users, and ``round`` says of how many.
    """

    size_compaction: StrategyReport | None = None
    age_compaction: StrategyReport | None = None
    deduplication: StrategyReport | None = None
    relevance_pruning: StrategyReport | None = None
    total_compacted: int = 0
    exported_to: str | None = None
    round: Round | None = None


class Compact(Payload[Compaction], queue=Queue.MEMORIES):
    """Compact a user's memories as far as each strategy's trigger says; ``force`` runs all four.

    Other than a store, it holds the memories against each other: those there before a change
    of threshold may be duplicates. ``age_only`` removes what is too old and looks at nothing else.
    A ``dry_run`` removes nothing and answers what would go, under another ``preset`` if one is
    given; fields that a user has set stand above it.

    Without a ``user_id`` it compacts everybody, a bounded number of users at a time, each by a
    job of their own; one user's failure is that user's alone. The answer comes when all are done.
    """

    user_id: OwnerId | None = None
    space: Name | None = None
    force: bool = False
    age_only: bool = False
    dry_run: bool = False
    preset: Name | None = None

    def subject(self) -> str | None:
        """Return whose memories this payload is about; None is everybody's."""
        return self.user_id if self.space is None else shared_owner(self.space)

    @model_validator(mode="after")
    def _one_space(self) -> Self:
        if self.space is not None and self.user_id is None:
            raise ValueError("space without user_id; say which of its members asks")
        return self

    @model_validator(mode="after")
    def _one_mode(self) -> Self:
        if self.force and self.age_only:
            raise ValueError("force runs all four strategies, age_only one; give one of the two")
        if self.dry_run and self.age_only:
            raise ValueError("a dry_run tries all that a compaction does; leave out age_only")
        if self.preset is not None and not self.dry_run:
            raise ValueError("preset is for a dry_run; SetPolicy chooses a preset")
        return self


class CompactionRun(Result):
    """One compaction that removed something. ``id`` is that of the job that it was part of."""

    id: UUID
    at: Moment
    report: Compaction


class Compactions(Result):
    """A page of compactions, newest first, how many there are in all, and what they removed.

    They are kept as long as what they removed is in the archive.
    """

    runs: tuple[CompactionRun, ...]
    total: int
    removed_total: int = 0


class ListCompactions(InSpace[Compactions], queue=Queue.READS):
    """List the compactions of a user's memories, newest first."""

    limit: int = Field(default=100, ge=1, le=1000)
    offset: Offset = 0
