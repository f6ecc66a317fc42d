"""What each change does to one user's memories, by the same rules as in PostgreSQL.

Nothing here waits, so that a change is whole before anything else sees the space. Each returns
its result and what tells of it afterwards.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bespoke_schemas import memories
from bespoke_workers.memories import guard
from bespoke_workers.memories.archive import UPDATED
from bespoke_workers.memories.duplicates import Merge, merge
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.in_memory.compacting import after_store
from bespoke_workers.memories.in_memory.done import Done, silence
from bespoke_workers.memories.in_memory.rows import Gone, Row
from bespoke_workers.memories.in_memory.space import Removal, UserSpace
from bespoke_workers.memories.index import Hit, to_bytes
from bespoke_workers.memories.merging import Judged, outcome
from bespoke_workers.memories.restoring import Return
from bespoke_workers.memories.updating import other_side
from bespoke_workers.observe import events


def store(space: UserSpace, fresh: Fresh) -> Done[memories.Stored]:
    """Store a memory, or merge it with what it duplicates, and compact."""
    similar = space.index.similar(fresh.vector, space.threshold)
    found = space.duplicates(fresh.facts, similar)
    merged = merge(fresh.candidate, found, space.counters.age_cutoff(fresh.at))
    space.counters = space.counters.after_store(fresh.at, merged, fresh.payload.kind)
    space.put(Row.of(fresh))
    removal = Removal(space, fresh.payload.id, fresh.at)
    _settle(removal, merged, dict(similar))
    done = after_store(space, removal, fresh.at, (merged.kept.id,))
    told = partial(done.tell, fresh.payload.user_id)
    return Done(outcome(fresh, Judged(dict(similar), found, merged), done), told)


def update(
    space: UserSpace, payload: memories.Update, vector: NDArray[np.float32] | None, now: datetime
) -> Done[memories.Updated]:
    """Change a memory, and merge it with what its new content then duplicates."""
    before = space.rows.get(payload.memory_id)
    if before is None:
        return Done(memories.Updated(memory=None))
    row = _updated(before, payload, vector, now)
    similar: list[Hit] = []
    if vector is not None:
        near = space.index.similar(vector, space.threshold)
        similar = [hit for hit in near if hit[0] != payload.memory_id]
    found = space.duplicates(row.facts, similar)
    merged = merge(row.candidate, found, space.counters.age_cutoff(now))
    space.counters = space.counters.next_version()
    removal = Removal(space, payload.id, now)
    removal.copy([payload.memory_id])
    space.put(row)
    _settle(removal, merged, dict(similar))
    space.recount()
    kept = space.rows[merged.kept.id].memory
    other = other_side(payload.memory_id, merged)
    return Done(memories.Updated(memory=kept, merged_with=other))


def remove(
    space: UserSpace,
    ids: list[UUID],
    reason: str,
    payload: memories.Delete | memories.Clear,
    now: datetime,
) -> Callable[[], None]:
    """Move memories to the archive, as their user wants; return what tells of it."""
    if not ids:
        return silence
    space.counters = space.counters.next_version()
    Removal(space, payload.id, now).take(ids, reason)
    space.recount()
    return partial(
        events.emit,
        f"dspy.memory.{reason}",
        user_id=payload.user_id,
        removed_count=len(ids),
        after_count=space.counters.count,
    )


def restore(space: UserSpace, payload: memories.Restore, now: datetime) -> Done[memories.Restored]:
    """Bring memories back from the archive, within the bounds of a store."""
    facts = {memory_id: row.facts for memory_id, row in space.rows.items()}
    kinds = Counter(row.memory.kind for row in space.rows.values())
    back = Return(space.loaded, space.threshold, facts, kinds)
    for one in _sought(space.archive, payload):
        back.weigh(one, one.embedding)
    skipped = tuple(back.skipped.values())
    restored = memories.Restored(restored_count=len(back.rows), skipped=skipped)
    if not back.rows:
        return Done(restored)
    _return(space, back, payload, now)
    told = partial(
        events.emit,
        "dspy.memory.restored",
        user_id=payload.user_id,
        restored_count=len(back.rows),
        skipped_count=len(skipped),
        after_count=space.counters.count,
    )
    return Done(restored, told)


def _settle(removal: Removal, merged: Merge, similarities: Mapping[UUID, float]) -> None:
    """Archive what is merged away; the kept one takes over accesses and tags."""
    if not merged.gone:
        return
    kept, gone = merged.kept, [one.id for one in merged.gone]
    removal.take(
        gone,
        "duplicate",
        kept=dict.fromkeys(gone, kept.id),
        # Each pair has the new memory on one side, whichever of the two goes.
        similarities={one: similarities.get(one, similarities.get(kept.id)) for one in gone},
    )
    removal.merge(kept)


def _updated(
    before: Row, payload: memories.Update, vector: NDArray[np.float32] | None, now: datetime
) -> Row:
    """Return a row as an update leaves it; None changes nothing."""
    given = {name: getattr(payload, name) for name in ("content", "kind", "tags", "metadata")}
    fields = {name: value for name, value in given.items() if value is not None}
    if payload.tags is not None:
        fields["tags"] = tuple(dict.fromkeys(payload.tags))
    row = before.changed(**fields, updated_at=now)
    if vector is None or payload.content is None:
        return row
    facts = guard.facts(payload.content)
    return replace(row, facts=facts, embedding=to_bytes(vector), renewed_at=now)


def _sought(archive: Iterable[Gone], payload: memories.Restore) -> list[Gone]:
    """Return what a job archived, or every state of one memory, in the order of READ_ARCHIVED."""

    def last(one: Gone) -> tuple[bool, int, datetime, bool, UUID]:
        changed, touched = one.reason == UPDATED, one.row.standing.touched_at
        if payload.run_id is not None:
            return changed, 0, touched, not changed, one.memory_id
        return False, one.version, touched, not changed, one.memory_id

    sought = (
        one for one in archive if payload.run_id == one.run_id or payload.memory_id == one.memory_id
    )
    return sorted(sought, key=last, reverse=True)


def _return(space: UserSpace, back: Return, payload: memories.Restore, now: datetime) -> None:
    """Hold archived rows again: their age counts from now, and relevance pauses."""
    counters = space.counters.next_version()
    pause_until = max(counters.relevance_pause_until, counters.stored_total + len(back.rows))
    space.counters = replace(counters, relevance_pause_until=pause_until)
    returned = [one for one in space.archive if one.id in back.rows]
    space.archive = [one for one in space.archive if one.id not in back.rows]
    Removal(space, payload.id, now).copy(back.changed)
    for one in returned:
        row = replace(one.row.changed(updated_at=now), renewed_at=now)
        there = space.rows.get(one.memory_id)
        space.put(row if there is None else row.changed(**_of_its_own(there)))
    space.recount()


def _of_its_own(row: Row) -> dict[str, Any]:
    """Return what a memory keeps when an earlier state of it comes back."""
    names = ("access_count", "last_accessed_at", "created_at")
    return {name: getattr(row.memory, name) for name in names}
