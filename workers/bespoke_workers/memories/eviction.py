"""Which memories size compaction removes, and in what order."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING
from uuid import UUID

from bespoke_workers.memories import compaction
from bespoke_workers.memories.policy import Policy

if TYPE_CHECKING:
    from bespoke_workers.memories.plan import Row

Neighbours = Mapping[UUID, Sequence[tuple[UUID, float]]]
"""The memories most similar to each one and their cosines, best first.

One that is missing counts as unlike all others.
"""

UNLIKE = -1.0


@dataclass(frozen=True)
class Evicted:
    """What goes because a kind has more than its cap, and then because there are too many."""

    by_kind: tuple[UUID, ...] = ()
    by_count: tuple[UUID, ...] = ()

    @property
    def all(self) -> tuple[UUID, ...]:
        """All that goes, in order."""
        return (*self.by_kind, *self.by_count)


def evicted(
    rows: Sequence["Row"],
    policy: Policy,
    *,
    just_stored: Collection[UUID] = (),
    force: bool = False,
    neighbours: Neighbours | None = None,
) -> Evicted:
    """Return what goes for size, in the policy's order.

    What was just stored goes only where there is no room for all of it. Without ``neighbours``
    the order is that of the last touch, whatever the policy says.
    """

    def chosen(left: Sequence["Row"], kind: str | None, cap: int) -> list[UUID]:
        count = _count(left, kind)
        order = _candidates(left, kind, cap, just_stored, force)
        excess = compaction.size_excess(count, cap, force=force)
        if policy.eviction == "oldest" or neighbours is None:
            go = order[:excess]
        else:
            present = {row.id for row in left}
            go = redundant_first(order, low(left, policy), neighbours, present, excess)
        no_room = max(count - len(go) - cap, 0)
        if no_room:
            go = [*go, *[one for one in _by_touch(left, kind) if one in just_stored][:no_room]]
        return go

    by_kind = [one for kind, cap in policy.caps.items() for one in chosen(rows, kind, cap)]
    gone = set(by_kind)
    left = [row for row in rows if row.id not in gone] if gone else rows
    return Evicted(tuple(by_kind), tuple(chosen(left, None, policy.max_memories)))


def candidates(
    rows: Sequence["Row"],
    policy: Policy,
    *,
    just_stored: Collection[UUID] = (),
    force: bool = False,
) -> list[UUID]:
    """Return what size compaction chooses among, what was touched longest ago first."""
    among = {
        one
        for kind, cap in (*policy.caps.items(), (None, policy.max_memories))
        for one in _candidates(rows, kind, cap, just_stored, force)
    }
    return [one for one in _by_touch(rows) if one in among] if among else []


def _candidates(
    rows: Sequence["Row"],
    kind: str | None,
    cap: int,
    just_stored: Collection[UUID],
    force: bool,
) -> list[UUID]:
    if not compaction.size_excess(_count(rows, kind), cap, force=force):
        return []
    return [one for one in _by_touch(rows, kind) if one not in just_stored]


def _count(rows: Sequence["Row"], kind: str | None) -> int:
    return len(rows) if kind is None else sum(row.kind == kind for row in rows)


def _by_touch(rows: Sequence["Row"], kind: str | None = None) -> list[UUID]:
    among = [row for row in rows if kind in (None, row.kind)]
    order = sorted(among, key=lambda row: (row.touched_at, row.age_from, row.id))
    return [row.id for row in order]


def low(rows: Sequence["Row"], policy: Policy) -> frozenset[UUID]:
    """Return what nobody reads, as relevance counts it."""
    most = max((row.access_count for row in rows), default=0)
    low_below = compaction.low_below(most, policy.low_access_threshold)
    return frozenset(row.id for row in rows if row.access_count < low_below)


def redundant_first(
    order: Sequence[UUID],
    low: Collection[UUID],
    neighbours: Neighbours,
    present: Collection[UUID],
    excess: int,
) -> list[UUID]:
    """Return ``excess`` of ``order``: what nobody reads first, then what another one says too.

    Each choice is made on what the ones before it left, so that of two that are alike one stays
    until all others are less alike. Equally similar ones go in their order.
    """
    gone: list[UUID] = []
    left = set(present)

    def rank(place: int) -> tuple[bool, float, int]:
        one = order[place]
        cosines = (cosine for other, cosine in neighbours.get(one, ()) if other in left)
        return one not in low, -next(cosines, UNLIKE), place

    ranks = [rank(place) for place in range(len(order))]
    heapify(ranks)
    while ranks and len(gone) < excess:
        best = ranks[0]
        # Its neighbour may have gone since: it can only have become less redundant.
        now = rank(best[2])
        if now != best:
            heapreplace(ranks, now)
            continue
        heappop(ranks)
        gone.append(order[best[2]])
        left.discard(order[best[2]])
    return gone
