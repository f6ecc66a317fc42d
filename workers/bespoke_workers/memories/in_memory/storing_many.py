"""Storing many memories at once, by the same rules as in PostgreSQL."""

from functools import partial

from bespoke_schemas import memories
from bespoke_workers.memories import likes, verdicts
from bespoke_workers.memories.arriving import Arrivals
from bespoke_workers.memories.in_memory.compacting import after_store
from bespoke_workers.memories.in_memory.done import Done
from bespoke_workers.memories.in_memory.rows import Row
from bespoke_workers.memories.in_memory.space import Removal, UserSpace
from bespoke_workers.memories.storing_many import after_all, result
from bespoke_workers.memories.verdicts import Verdicts


def store_many(
    space: UserSpace, payload: memories.StoreMany, new: Arrivals
) -> Done[memories.StoredMany]:
    """Store newcomers, merging duplicates, and compact once."""
    decided = _weighed(space, new)
    space.counters = after_all(space.counters, new, decided.merges)
    for one, vector in zip(new.newcomers, new.vectors, strict=True):
        space.put(Row.of_newcomer(one, vector))
    removal = Removal(space, payload.id, new.at)
    removal.take(decided.replaced, "duplicate", kept=decided.kept_ids, similarities=decided.cosines)
    for kept in decided.changed.values():
        removal.merge(kept)
    just_stored = {decided.standing(one.candidate.id) for one in new.newcomers}
    compacted = after_store(space, removal, new.at, just_stored)
    told = partial(compacted.tell, payload.user_id)
    return Done(result(new, decided, compacted), told)


def _weighed(space: UserSpace, new: Arrivals) -> Verdicts:
    """Decide what becomes of newcomers."""
    near = likes.similar(space.index, new.newcomers, new.vectors, space.threshold)
    sought = {memory_id for hits in near.values() for memory_id, _ in hits}
    rows = {memory_id: space.rows[memory_id] for memory_id in sought & space.rows.keys()}
    return verdicts.decide(
        [one.candidate for one in new.newcomers],
        {memory_id: row.candidate for memory_id, row in rows.items()},
        likes.agreeing(space.loaded, new.newcomers, near, rows),
        space.counters.age_cutoff(new.at),
    )
