"""Which memories size compaction removes, and in what order."""

from collections.abc import Collection, Mapping, Sequence
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


def evicted(
    rows: Sequence["Row"],
    policy: Policy,
    *,
    just_stored: Collection[UUID] = (),
    force: bool = False,
    neighbours: Neighbours | None = None,
) -> list[UUID]:
    """Return what goes for size, in the policy's order.

    What was just stored goes only where there is no room for all of it. Without ``neighbours``
    the order is that of the last touch, whatever the policy says.
    """
    excess = compaction.size_excess(len(rows), policy.max_memories, force=force)
    order = candidates(rows, policy, just_stored=just_stored, force=force)
    if policy.eviction == "oldest" or neighbours is None:
        go = order[:excess]
    else:
        present = {row.id for row in rows}
        go = redundant_first(order, low(rows, policy), neighbours, present, excess)
    no_room = max(len(rows) - len(go) - policy.max_memories, 0)
    return [*go, *[row.id for row in _by_touch(rows) if row.id in just_stored][:no_room]]


def candidates(
    rows: Sequence["Row"],
    policy: Policy,
    *,
    just_stored: Collection[UUID] = (),
    force: bool = False,
) -> list[UUID]:
    """Return what size compaction chooses among, what was touched longest ago first."""
    if not compaction.size_excess(len(rows), policy.max_memories, force=force):
        return []
    return [row.id for row in _by_touch(rows) if row.id not in just_stored]


def _by_touch(rows: Sequence["Row"]) -> list["Row"]:
    return sorted(rows, key=lambda row: (row.touched_at, row.age_from, row.id))


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
