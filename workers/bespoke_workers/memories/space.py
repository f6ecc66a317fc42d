"""One user's memories in counters and watermarks, as the row of ``memory_space`` holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from bespoke_workers.memories import compaction, plan
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.duplicates import Merge
from bespoke_workers.memories.embedders import Kind, OtherEmbedder
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.kinds import KindMarks
from bespoke_workers.memories.policy import Policy

NEVER = 2**62
"""A count of stores that nobody reaches."""


@dataclass(frozen=True)
class Space:
    """A user's counters at one version, and the policy that they are held against.

    ``version`` rises with every store, removal and change of policy, so that whoever knows the
    version knows all of this, but for ``most_accessed`` and ``relevance_check_at``, which
    searches move. ``oldest_created_at`` is a watermark: no memory's age counts from earlier; one
    that old may have gone or been renewed. ``relevance_check_at`` is the first ``stored_total``
    at which relevance has to be looked at, ``relevance_pause_until`` the first at which it may
    prune again. ``kind_marks`` say as much of the rules of kinds, None that this is not known.
    The watermarks are valid under the policy of ``policy_digest``, and exact as of
    ``compacted_version``.
    """

    version: int
    reload_below: int
    count: int
    oldest_created_at: datetime | None
    most_accessed: int
    stored_total: int
    relevance_check_at: int
    relevance_pause_until: int
    embedder: str
    dim: int
    policy: Policy
    kind_marks: KindMarks | None = None
    policy_digest: str | None = None
    compacted_version: int = 0

    @classmethod
    def of(cls, row: Row[Any], default: Defaults) -> "Space":
        """Make a space of a row that READ_SPACE or READ_CHANGES gave."""
        columns = {name: getattr(row, name) for name in _COLUMNS}
        columns["kind_marks"] = KindMarks.from_json(row.kind_marks)
        return cls(**columns, policy=default.resolve(row.user_id, row.preset, row.policy))

    def require(self, embedder: Embedder) -> None:
        """Raise OtherEmbedder unless the vectors in this space are of this embedder."""
        if self.kind != embedder.kind:
            raise OtherEmbedder(self.kind, embedder.kind)

    @property
    def kind(self) -> Kind:
        """The name and the dimension of the embedder whose vectors this space holds."""
        return self.embedder, self.dim

    def age_cutoff(self, now: datetime) -> datetime:
        """Return the moment before which memories are too old, or would be in some kind."""
        return compaction.age_cutoff(now, self.policy.least_age_days)

    def after_store(self, now: datetime, merged: Merge, kind: str) -> "Space":
        """Return the space with a new memory of a kind in it and what was merged out of it."""
        return self.after_stores([(now, merged, kind)])

    def after_stores(self, stores: Sequence[tuple[datetime, Merge, str]]) -> "Space":
        """Return the space after one store after the other: of when, of what, of which kind."""
        removed = [len(merged.gone) for _, merged, _ in stores]
        marks = KindMarks.of((), self.policy) if self.is_empty else self.kind_marks
        for at, _, kind in stores if marks else ():
            # What was merged away may be of another kind, so it is not taken off.
            marks = marks and marks.with_one(kind, at, self.policy)
        moments = [at for at, _, _ in stores]
        return replace(
            self,
            version=self.version + len(stores),
            count=self.count + len(stores) - sum(removed),
            # A merge adds nothing, and the pause after a pruning counts what was added.
            stored_total=self.stored_total + removed.count(0),
            # One for one, accesses stay as they are; else more of the rest may be low.
            relevance_check_at=self.relevance_check_at if max(removed) <= 1 else 0,
            oldest_created_at=min(self.oldest_created_at or moments[0], *moments),
            kind_marks=marks,
            policy_digest=self.policy.digest if self.is_empty else self.policy_digest,
        )

    def counters(self) -> dict[str, Any]:
        """Return the parameters of FINISH that describe the space."""
        marks = None if self.kind_marks is None else self.kind_marks.to_json()
        return {name: getattr(self, name) for name in _WRITTEN} | {"kind_marks": marks}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever in it, so that its watermarks are valid under any policy."""
        return self.stored_total == self.count == 0

    def is_compaction_due(self, now: datetime) -> bool:
        """Whether size or age are over their limits, or the rows have to be looked at."""
        return (
            compaction.size_excess(self.count, self.policy.max_memories) > 0
            or self.is_age_due(now)
            or self.stored_total >= self.relevance_check_at
            or self.policy_digest != self.policy.digest
            or self._is_kind_due(now)
        )

    def is_age_due(self, now: datetime) -> bool:
        """Whether a memory may be too old."""
        if not compaction.age_due(self.oldest_created_at, self.age_cutoff(now)):
            return False
        if self.policy.has_ages_by_kind and self.policy_digest == self.policy.digest:
            return self._is_kind_due(now)
        return True

    def _is_kind_due(self, now: datetime) -> bool:
        if not self.policy.kinds:
            return False
        return self.kind_marks is None or self.kind_marks.is_due(self.policy, now)

    def next_version(self) -> "Space":
        """Return the space under the version that the next change of its memories takes."""
        return replace(self, version=self.version + 1)

    @property
    def pause(self) -> int:
        """How many memories have to be stored before relevance may prune again."""
        return max(self.relevance_pause_until - self.stored_total, 0)

    def after_compaction(self, planned: plan.Plan) -> "Space":
        """Return the space as a compaction left it, its counters and watermarks exact."""
        pause_until = self.relevance_pause_until
        if planned.relevance or planned.failure is not None:
            pause_until = self.stored_total + planned.pause
        return replace(
            self.with_left(Left.of(planned.kept, self.policy), pause_until),
            kind_marks=KindMarks.of(planned.kept, self.policy),
        )

    def after_eviction(self, left: "Left") -> "Space":
        """Return the space as size alone left it, which has no rules for kinds."""
        return replace(
            self.with_left(left, self.relevance_pause_until),
            kind_marks=KindMarks.of((), self.policy),
        )

    def with_left(self, left: "Left", pause_until: int) -> "Space":
        """Return the space with its counters and watermarks, but for those of kinds, exact."""
        return replace(
            self,
            count=left.count,
            oldest_created_at=left.oldest,
            most_accessed=left.most_accessed,
            relevance_check_at=max(self._next_check(left), pause_until),
            relevance_pause_until=pause_until,
            policy_digest=self.policy.digest,
            compacted_version=self.version,
        )

    def _next_check(self, left: "Left") -> int:
        if left.most_accessed == 0:
            return NEVER  # until a search raises it
        stores = compaction.stores_until_relevance(left.count, left.low_count)
        return self.stored_total + max(stores, 1)


@dataclass(frozen=True)
class Left:
    """What a compaction left of a space, in counts; of nothing, ``oldest`` is None."""

    count: int
    oldest: datetime | None
    most_accessed: int
    low_count: int

    @classmethod
    def of(cls, kept: Sequence[plan.Row], policy: Policy) -> "Left":
        """Count the rows that a plan keeps."""
        most = max((row.access_count for row in kept), default=0)
        low_below = compaction.low_below(most, policy.low_access_threshold)
        return cls(
            len(kept),
            min((row.age_from for row in kept), default=None),
            most,
            sum(row.access_count < low_below for row in kept),
        )


_COLUMNS = tuple(name for name in Space.__dataclass_fields__ if name != "policy")
_WRITTEN = (
    "version",
    "count",
    "oldest_created_at",
    "most_accessed",
    "stored_total",
    "relevance_check_at",
    "relevance_pause_until",
    "policy_digest",
    "compacted_version",
)
