"""What the memories of one kind are kept to, within what all of a user's memories are."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bespoke_workers.errors import Refused
from bespoke_workers.memories import allowed, compaction

if TYPE_CHECKING:
    from bespoke_workers.memories.plan import Row
    from bespoke_workers.memories.policy import Policy

MOST_KINDS = 50
"""Kinds that have rules of their own: their counts stand in the row of each user's space."""


@dataclass(frozen=True)
class KindPolicy:
    """The limits of one kind; None leaves it to what holds for all kinds.

    ``max_memories`` is a cap of this kind within the user's own. Whatever compares memories of
    different kinds (similarity, accesses, order of eviction) is the same for all of a user's.
    """

    max_memories: int | None = None
    max_age_days: int | None = None


FIELDS = tuple(field.name for field in fields(KindPolicy))

Kinds = Mapping[str, KindPolicy]
"""The rules of each kind that has some of its own."""


def kinds_of(given: Mapping[str, Mapping[str, Any]]) -> Kinds:
    """Return the rules that are given as fields by kind.

    Raises:
        Refused: a field is none of a kind, a value is not allowed, or there are too many kinds.
    """
    if len(given) > MOST_KINDS:
        raise Refused(f"policy: got rules for {len(given)} kinds, allowed: up to {MOST_KINDS}")
    return {kind: _of(kind, own) for kind, own in given.items()}


def layered(below: Kinds, above: Kinds, overridden: Collection[str] = ()) -> Kinds:
    """Return the rules of ``above`` over those of ``below``.

    ``overridden`` are fields that are set for all kinds between the two. A cap of a kind stays:
    it is no limit of all kinds.
    """
    hidden = {name: None for name in overridden if name in FIELDS and name != "max_memories"}
    together = {kind: replace(rules, **hidden) for kind, rules in below.items()}
    for kind, rules in above.items():
        own = {name: getattr(rules, name) for name in FIELDS if getattr(rules, name) is not None}
        together[kind] = replace(together.get(kind, KindPolicy()), **own)
    return {kind: rules for kind, rules in together.items() if rules != KindPolicy()}


def _of(kind: str, own: Mapping[str, Any]) -> KindPolicy:
    whose = f"policy of kind {kind!r}"
    for name, value in own.items():
        if name not in FIELDS:
            raise Refused(
                f"{whose}: got {name!r}, allowed: {', '.join(FIELDS)}; "
                "set it for all kinds, without a kind"
            )
        allowed.check(name, value, whose)
    return KindPolicy(**own)


@dataclass(frozen=True)
class KindMarks:
    """When the rules of kinds can next have something to do, so that no store reads a row.

    ``counts`` are of the kinds with a cap; there may be fewer of one, and never more. Before
    ``expires_at`` nothing is too old, whatever its kind; None where no kind has an age of its own.
    """

    counts: Mapping[str, int]
    expires_at: datetime | None

    @classmethod
    def of(cls, rows: Iterable["Row"], policy: "Policy") -> "KindMarks | None":
        """Take the marks of rows; None where no kind has rules."""
        if not policy.kinds:
            return None
        marks = cls(dict.fromkeys(policy.caps, 0), None)
        for row in rows:
            marks = marks.with_one(row.kind, row.age_from, policy)
        return marks

    def with_one(self, kind: str, age_from: datetime, policy: "Policy") -> "KindMarks":
        """Return the marks with one more memory of a kind."""
        counts, expires_at = self.counts, self.expires_at
        if kind in counts:
            counts = {**counts, kind: counts[kind] + 1}
        if policy.has_ages_by_kind:
            end = age_from + timedelta(days=policy.age_days(kind))
            expires_at = min(expires_at or end, end)
        return KindMarks(counts, expires_at)

    def is_due(self, policy: "Policy", now: datetime) -> bool:
        """Whether a kind may have more than its cap, or something may be too old."""
        is_over = any(
            compaction.size_excess(self.counts.get(kind, 0), cap)
            for kind, cap in policy.caps.items()
        )
        return is_over or (self.expires_at is not None and self.expires_at < now)

    def to_json(self) -> str:
        """Return the marks as a space keeps them."""
        expires_at = None if self.expires_at is None else self.expires_at.isoformat()
        return json.dumps({"counts": self.counts, "expires_at": expires_at})

    @classmethod
    def from_json(cls, kept: Mapping[str, Any] | None) -> "KindMarks | None":
        """Read what `to_json` wrote; None is not known."""
        if kept is None:
            return None
        expires_at = kept["expires_at"]
        return cls(kept["counts"], expires_at and datetime.fromisoformat(expires_at))
