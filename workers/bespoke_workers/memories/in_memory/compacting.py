"""What compaction does to one user's memories, by the same rules as in PostgreSQL."""

from collections.abc import Collection
from datetime import datetime
from functools import partial
from time import perf_counter
from uuid import UUID

from bespoke_schemas import memories
from bespoke_workers.memories import plan
from bespoke_workers.memories.compactor import Compacted
from bespoke_workers.memories.duplicates import Candidate, taking_over
from bespoke_workers.memories.eviction import candidates
from bespoke_workers.memories.in_memory.done import Done
from bespoke_workers.memories.in_memory.space import Removal, UserSpace
from bespoke_workers.memories.neighbours import looked_up, nearest
from bespoke_workers.memories.pairing import Pairing
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.sweeping import PROBES, whose


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
    swept = _compacted(space, removal, now, force=payload.force, pairing=pairing)
    return Done(swept.report, partial(tell, swept))


def after_store(
    space: UserSpace, removal: Removal, now: datetime, just_stored: Collection[UUID]
) -> Compacted:
    """Compact a space in which something was just stored, if a trigger says so."""
    if not space.counters.is_compaction_due(now):
        return Compacted(space.counters)
    return _compacted(space, removal, now, just_stored=just_stored)


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


def _compacted(
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
