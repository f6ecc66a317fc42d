"""Looking at one user's memories in this process."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bespoke_schemas import memories
from bespoke_workers.memories.answers import at_least
from bespoke_workers.memories.in_memory.space import UserSpace
from bespoke_workers.memories.index import Hit

T = TypeVar("T")


class Page(Protocol):
    """Which part of a listing a payload asks for."""

    @property
    def limit(self) -> int:
        """At most so many."""

    @property
    def offset(self) -> int:
        """After so many."""


def search(
    space: UserSpace, payload: memories.Search, query: NDArray[np.float32], now: datetime
) -> memories.Found:
    """Find memories by meaning, and count the access of each one found."""
    selected = {one.id for one in space.selected(payload.tags, payload.kind, payload.text)}
    nearest = space.index.nearest(query, payload.limit, selected.__contains__)
    hits = at_least(nearest, payload.threshold)
    for memory_id, _ in hits:
        accesses = space.rows[memory_id].memory.access_count + 1
        space.change(memory_id, access_count=accesses, last_accessed_at=now)
        if accesses > space.counters.most_accessed:
            space.counters = replace(space.counters, most_accessed=accesses, relevance_check_at=0)
    return _found(space, hits)


def find_similar(
    space: UserSpace, payload: memories.FindSimilar, vector: NDArray[np.float32] | None
) -> memories.Found:
    """Find what is similar to a memory, or to a text; no access is counted."""
    sought = vector
    if payload.memory_id is not None:
        if payload.memory_id not in space.rows:
            return memories.Found(matches=())
        sought = space.vector(payload.memory_id).astype(np.float32)
    if sought is None:
        return memories.Found(matches=())
    nearest = space.index.nearest(sought, payload.limit, lambda one: one != payload.memory_id)
    threshold = space.threshold if payload.threshold is None else payload.threshold
    return _found(space, at_least(nearest, threshold))


def list_(space: UserSpace, payload: memories.List) -> memories.Listed:
    """Return a page of the memories, newest first."""
    selected = space.selected(payload.tags, payload.kind, text=payload.text)
    page = _page(selected, payload, lambda one: (one.created_at, one.id))
    return memories.Listed(memories=page, total=len(selected))


def list_compactions(space: UserSpace, payload: memories.ListCompactions) -> memories.Compactions:
    """Return a page of the compactions, newest first."""
    page = _page(space.runs, payload, lambda run: (run.at, run.id))
    removed = sum(run.report.total_compacted for run in space.runs)
    return memories.Compactions(runs=page, total=len(space.runs), removed_total=removed)


def list_archived(space: UserSpace, payload: memories.ListArchived) -> memories.ArchivedListed:
    """Return a page of the archive, what went last first."""
    gone = [
        one
        for one in space.archive
        if payload.run_id in (None, one.run_id)
        and payload.reason in (None, one.reason)
        and (payload.since is None or one.removed_at >= payload.since)
    ]
    page = _page(gone, payload, lambda one: (one.removed_at, one.id))
    return memories.ArchivedListed(archived=tuple(one.archived() for one in page), total=len(gone))


def stats(space: UserSpace) -> memories.SpaceStats:
    """Return what a space holds, in numbers."""
    held = [row.memory for row in space.rows.values()]
    created = [one.created_at for one in held]
    return memories.SpaceStats(
        count=len(held),
        oldest_created_at=min(created, default=None),
        newest_created_at=max(created, default=None),
        most_accessed=max((one.access_count for one in held), default=0),
        accesses_total=sum(one.access_count for one in held),
        by_kind=Counter(one.kind for one in held),
        archived_count=len(space.archive),
        embedder=space.counters.embedder,
        dim=space.counters.dim,
    )


def _page(
    listed: Sequence[T], payload: Page, key: Callable[[T], tuple[datetime, UUID]]
) -> tuple[T, ...]:
    newest = sorted(listed, key=key, reverse=True)
    return tuple(newest[payload.offset : payload.offset + payload.limit])


def _found(space: UserSpace, hits: Sequence[Hit]) -> memories.Found:
    return memories.Found(
        matches=tuple(
            memories.Match(memory=space.rows[memory_id].memory, similarity=similarity)
            for memory_id, similarity in hits
        )
    )
