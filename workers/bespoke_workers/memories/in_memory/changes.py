"""What each change does to one user's memories, by the same rules as in PostgreSQL.

Nothing here waits, so that a change is whole before anything else sees the space. Each returns
its result and what tells of it afterwards.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bespoke_schemas import memories
from bespoke_schemas.payload import Result
from bespoke_workers.memories import guard, plan
from bespoke_workers.memories.archive import UPDATED
from bespoke_workers.memories.compactor import Compacted
from bespoke_workers.memories.duplicates import Candidate, Merge, merge, taking_over
from bespoke_workers.memories.eviction import candidates
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.in_memory.rows import Gone, Row
from bespoke_workers.memories.in_memory.space import Removal, UserSpace
from bespoke_workers.memories.index import Hit, to_bytes
from bespoke_workers.memories.merging import Judged, outcome
from bespoke_workers.memories.neighbours import looked_up, nearest
from bespoke_workers.memories.pairing import Pairing
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.restoring import Return
from bespoke_workers.memories.sweeping import PROBES, whose
from bespoke_workers.memories.updating import other_side
from bespoke_workers.observe import events

ResultT = TypeVar("ResultT", bound=Result)


def silence() -> None:
    """Tell of nothing."""


class Done(NamedTuple, Generic[ResultT]):
    """The result of a change, and what tells of it once it is made."""

    result: ResultT
    tell: Callable[[], None] = silence


def store(space: UserSpace, fresh: Fresh) -> Done[memories.Stored]:
    """Store a memory, or merge it with what it duplicates, and compact."""
    similar = space.index.similar(fresh.vector, space.threshold)
    found = space.duplicates(fresh.facts, similar)
    merged = merge(fresh.candidate, found, space.counters.age_cutoff(fresh.at))
    space.counters = space.counters.after_store(fresh.at, merged, fresh.payload.kind)
    space.put(Row.of(fresh))
    removal = Removal(space, fresh.payload.id, fresh.at)
    _settle(removal, merged, dict(similar))
    compacted = Compacted(space.counters)
    if space.counters.is_compaction_due(fresh.at):
        compacted = _compact(space, removal, fresh.at, just_stored=(merged.kept.id,))
    told = partial(compacted.tell, fresh.payload.user_id)
    return Done(outcome(fresh, Judged(dict(similar), found, merged), compacted), told)


def compact(
    space: UserSpace, payload: memories.Compact, now: datetime
) -> Done[memories.Compaction]:
    """Compact as triggers say or by force, holding the memories against each other."""
    removal, tell = Removal(space, payload.id, now), partial(Compacted.tell, user_id=whose(payload))
    if payload.age_only:
        rows = [row.standing for row in space.rows.values()]
        planned = plan.aged(rows, space.counters.policy, now, pause=space.counters.pause)
        aged = _carried_out(space, removal, planned, perf_counter())
        return Done(aged.report, partial(tell, aged))
    pairing = _pairing(space, space.counters.policy)
    compacted = _compact(space, removal, now, force=payload.force, pairing=pairing)
    return Done(compacted.report, partial(tell, compacted))


def rehearse(
    space: UserSpace, payload: memories.Compact, now: datetime
) -> Done[memories.Compaction]:
    """Tell what a compaction would remove, under another preset if one is given."""
    policy = space.policy_with(payload.preset)
    pairing = _pairing(space, policy)
    planned = _planned(space, policy, now, force=payload.force, pairing=pairing)
    return Done(memories.Compaction.model_validate(planned.report.as_dict()))


def _pairing(space: UserSpace, policy: Policy) -> Pairing:
    newest = sorted(space.rows.values(), key=lambda row: row.standing.created_at, reverse=True)
    return Pairing(
        space.index,
        policy.threshold(space.embedder_threshold),
        {row.memory.id: space.vector(row.memory.id) for row in newest[:PROBES]},
        {row.memory.id: row.facts for row in newest} if policy.dedup_guard else None,
    )


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
        back.weigh(one)
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


def _planned(
    space: UserSpace,
    policy: Policy,
    now: datetime,
    *,
    just_stored: Collection[UUID] = (),
    force: bool = False,
    pairing: Pairing | None = None,
) -> plan.Plan:
    rows = [row.standing for row in space.rows.values()]
    alike = None
    if policy.eviction != "oldest":
        sought = looked_up(candidates(rows, policy, just_stored=just_stored, force=force))
        alike = nearest({one: space.vector(one) for one in sought}, space.index, {})
    return plan.plan(
        rows,
        policy,
        now,
        just_stored=just_stored,
        force=force,
        pairs=pairing,
        pause=space.counters.pause,
        neighbours=alike,
        lenient=bool(just_stored),
    )


def _compact(
    space: UserSpace,
    removal: Removal,
    now: datetime,
    *,
    just_stored: Collection[UUID] = (),
    force: bool = False,
    pairing: Pairing | None = None,
) -> Compacted:
    started = perf_counter()
    planned = _planned(
        space,
        space.counters.policy,
        now,
        just_stored=just_stored,
        force=force,
        pairing=pairing,
    )
    if just_stored and not planned.removed:
        space.counters = space.counters.after_compaction(planned)
    has_version = bool(just_stored)  # a store has a version of its own already
    return _carried_out(space, removal, planned, started, pairing, has_version=has_version)


def _carried_out(
    space: UserSpace,
    removal: Removal,
    planned: plan.Plan,
    started: float,
    pairing: Pairing | None = None,
    *,
    has_version: bool = False,
) -> Compacted:
    """Archive and record what is planned."""
    report = memories.Compaction.model_validate(planned.report.as_dict())
    if planned.removed:
        if not has_version:
            space.counters = space.counters.next_version()
        _merge(space, removal, planned, pairing)
        removal.take_all(planned)
        removal.record(report)
        space.counters = space.counters.after_compaction(planned)
    taken_ms = (perf_counter() - started) * 1000
    return Compacted(space.counters, planned.removed, report, taken_ms, planned.failure)


def _merge(space: UserSpace, removal: Removal, planned: plan.Plan, pairing: Pairing | None) -> None:
    """Archive each duplicate, and give what stays in its place its accesses and tags."""
    if pairing is None or not planned.merged:
        return
    groups: dict[UUID, list[Candidate]] = {}
    for gone, kept in planned.merged.items():
        groups.setdefault(kept, []).append(space.rows[gone].candidate)
    kept_ones = [taking_over(space.rows[kept].candidate, gone) for kept, gone in groups.items()]
    cosines = {pair[0]: pairing.cosines.get(frozenset(pair)) for pair in planned.merged.items()}
    removal.take(planned.merged, "deduplication", kept=planned.merged, similarities=cosines)
    for one in kept_ones:
        removal.merge(one)


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
