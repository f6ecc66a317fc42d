"""Ages count from when a thing was said last, and what was restored stays for a while."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from bespoke_schemas.memories import (
    Clear,
    Compact,
    Delete,
    Get,
    ListArchived,
    Memory,
    Restore,
    Search,
    SetPolicy,
    Update,
)
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    Clock,
    assert_sound,
    contents,
    in_loop,
    remember,
    worker,
)
from tests.integration.test_memories_compaction import fill, word

MONTH = Policy(max_age_days=30)
ANGLES_MONTH = Policy(max_age_days=30, dedup_guard=False)


async def read(memories: Memories, memory_id: UUID) -> Memory:
    """Return a memory of ada."""
    memory = (await memories.get(Get(user_id="ada", memory_id=memory_id))).memory
    assert memory is not None
    return memory


@pytest.mark.parametrize("late", [29, 31], ids=["in_time", "too_late"])
@in_loop
async def test_what_is_said_anew_by_an_update_is_young(database_url: str, late: int) -> None:
    clock = Clock()
    async with worker(database_url, MONTH, clock=clock) as memories:
        first, second = await fill(memories, 2)
        before = await read(memories, first.memory_id)
        clock.now += timedelta(days=late)
        await memories.update(Update(user_id="ada", memory_id=first.memory_id, content=word(5)))
        await memories.update(Update(user_id="ada", memory_id=second.memory_id, kind="habit"))
        clock.now += timedelta(days=29)
        assert (await remember(memories, "ada", word(6))).compaction.total_compacted == 1
        assert await contents(database_url, "ada") == {word(5), word(6)}
        assert (await read(memories, first.memory_id)).created_at == before.created_at
        clock.now += timedelta(days=2)
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 1
        await assert_sound(database_url, "ada", MONTH)


@in_loop
async def test_what_is_said_again_is_young_also_where_the_first_saying_is_kept(
    database_url: str,
) -> None:
    clock = Clock()
    async with worker(database_url, ANGLES_MONTH, ANGLES, clock) as memories:
        first = await remember(memories, "ada", "a 0")
        await memories.search(Search(user_id="ada", query="a 0", limit=1))
        clock.now += timedelta(days=29)
        again = await remember(memories, "ada", "a 5")
        assert (again.outcome, again.memory_id) == ("merged", first.memory_id)
        clock.now += timedelta(days=29)
        await remember(memories, "ada", "b 0")
        assert await contents(database_url, "ada") == {"a 0", "b 0"}
        clock.now += timedelta(days=2)
        await remember(memories, "ada", "c 0")
        assert await contents(database_url, "ada") == {"b 0", "c 0"}
        await assert_sound(database_url, "ada", ANGLES_MONTH, ANGLES)


@in_loop
async def test_a_merge_that_was_asked_for_keeps_the_younger_age(database_url: str) -> None:
    clock = Clock()
    policy = Policy(max_age_days=30, dedup_guard=False, similarity_threshold=0.99999)
    async with worker(database_url, policy, ANGLES, clock) as memories:
        await remember(memories, "ada", "a 0")
        await memories.search(Search(user_id="ada", query="a 0", limit=1))
        clock.now += timedelta(days=29)
        await remember(memories, "ada", "a 5")
        await memories.set_policy(SetPolicy(user_id="ada", similarity_threshold=0.95))
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 1
        clock.now += timedelta(days=29)
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 0
        assert await contents(database_url, "ada") == {"a 0"}


Removing = Callable[[Memories, Clock], Awaitable[UUID]]


async def by_size(memories: Memories, _: Clock) -> UUID:
    """Remove by a lower limit; return the job that did it."""
    await fill(memories, 20)
    await memories.set_policy(SetPolicy(user_id="ada", max_memories=18))
    return (await fill(memories, 1, start=20))[0].memory_id


async def by_age(memories: Memories, clock: Clock) -> UUID:
    """Remove what is too old."""
    await fill(memories, 5)
    clock.now += timedelta(days=91)
    return (await fill(memories, 1, start=20))[0].memory_id


async def by_relevance(memories: Memories, clock: Clock) -> UUID:
    """Remove what is hardly read."""
    await fill(memories, 49)
    clock.now += timedelta(days=60)
    await memories.search(Search(user_id="ada", query=word(48), limit=1))
    return (await fill(memories, 1, start=49))[0].memory_id


async def by_deduplication(memories: Memories, _: Clock) -> UUID:
    """Remove what a lower threshold takes for duplicates, and raise it again."""
    await fill(memories, 5)
    await memories.set_policy(SetPolicy(user_id="ada", similarity_threshold=-1, dedup_guard=False))
    payload = Compact(user_id="ada")
    await memories.compact(payload)
    await memories.set_policy(SetPolicy(user_id="ada", reset=True))
    return payload.id


async def by_a_duplicate(memories: Memories, _: Clock) -> UUID:
    """Remove what a memory just stored duplicates, and that one, too."""
    await memories.set_policy(SetPolicy(user_id="ada", similarity_threshold=-1, dedup_guard=False))
    first, second = await fill(memories, 2)
    await memories.set_policy(SetPolicy(user_id="ada", reset=True))
    assert second.merged_with == first.memory_id
    return second.memory_id


async def by_clearing(memories: Memories, clock: Clock) -> UUID:
    """Remove all, some of which would be too old by now."""
    await fill(memories, 5)
    payload = Clear(user_id="ada")
    await memories.clear(payload)
    clock.now += timedelta(days=100)
    return payload.id


async def by_deleting(memories: Memories, clock: Clock) -> UUID:
    """Remove one that would be too old by now."""
    stored = (await fill(memories, 5))[0]
    payload = Delete(user_id="ada", memory_id=stored.memory_id)
    await memories.delete(payload)
    clock.now += timedelta(days=100)
    return payload.id


@pytest.mark.parametrize(
    "remove",
    [
        by_size,
        by_age,
        by_relevance,
        by_deduplication,
        by_a_duplicate,
        by_clearing,
        by_deleting,
    ],
    ids=lambda remove: remove.__name__,
)
@in_loop
async def test_the_next_store_does_not_remove_what_was_restored(
    database_url: str, remove: Removing
) -> None:
    clock = Clock()
    async with worker(database_url, clock=clock) as memories:
        run_id = await remove(memories, clock)
        before = await contents(database_url, "ada")
        restored = await memories.restore(Restore(user_id="ada", run_id=run_id))
        assert restored.restored_count > 0
        back = await contents(database_url, "ada") - before
        assert len(back) == restored.restored_count
        await fill(memories, 1, start=60)
        assert back <= await contents(database_url, "ada")
        assert (await memories.compact(Compact(user_id="ada"))).total_compacted == 0
        await assert_sound(database_url, "ada")


@in_loop
async def test_one_memory_that_relevance_removed_is_not_the_next_to_go(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, clock=clock) as memories:
        run_id = await by_relevance(memories, clock)
        gone = word(0)
        assert gone not in await contents(database_url, "ada")
        memory_id = next(
            one.memory.id
            for one in (await memories.list_archived(ListArchived(user_id="ada"))).archived
            if one.memory.content == gone and one.run_id == run_id
        )
        await memories.restore(Restore(user_id="ada", memory_id=memory_id))
        await fill(memories, 30, start=60)
        assert gone in await contents(database_url, "ada")


@in_loop
async def test_a_restored_memory_keeps_its_times_and_accesses(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, ANGLES_POLICY, ANGLES, clock) as memories:
        stored = await remember(memories, "ada", "a 0")
        await memories.search(Search(user_id="ada", query="a 0", limit=1))
        before = await read(memories, stored.memory_id)
        clock.now += timedelta(days=91)
        await remember(memories, "ada", "b 0")
        await memories.restore(Restore(user_id="ada", memory_id=stored.memory_id))
        after = await read(memories, stored.memory_id)
        assert after == before.model_copy(update={"updated_at": clock.now})
