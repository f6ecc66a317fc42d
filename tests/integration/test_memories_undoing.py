"""Restoring what an update changed."""

import asyncio
from uuid import UUID

import pytest

from bespoke_schemas.memories import (
    Delete,
    Get,
    ListArchived,
    Memory,
    Restore,
    Restored,
    Search,
    SetPolicy,
    Skipped,
    Update,
)
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


async def read(memories: Memories, memory_id: UUID) -> Memory:
    """Return a memory of ada."""
    memory = (await memories.get(Get(user_id="ada", memory_id=memory_id))).memory
    assert memory is not None
    return memory


async def update(memories: Memories, memory_id: UUID, content: str) -> UUID:
    """Change a memory of ada; return the job's id."""
    payload = Update(user_id="ada", memory_id=memory_id, content=content, tags=("new",))
    await memories.update(payload)
    return payload.id


async def assert_found(memories: Memories, **sought: bool) -> None:
    """Check what a search for the first angle of a topic finds."""
    for topic, is_there in sought.items():
        found = await memories.search(Search(user_id="ada", query=f"{topic} 0", threshold=0.9))
        assert bool(found.matches) == is_there, topic


@pytest.mark.parametrize("by_run", [False, True], ids=["by_memory", "by_run"])
@in_loop
async def test_an_update_is_undone_and_done_again(database_url: str, by_run: bool) -> None:
    clock = Clock()
    async with (
        worker(database_url, ANGLES_POLICY, ANGLES, clock) as memories,
        worker(database_url, ANGLES_POLICY, ANGLES, clock) as elsewhere,
    ):
        stored = await remember(memories, "ada", "a 0", "old")
        run_id = await update(memories, stored.memory_id, "b 0")
        await assert_found(elsewhere, a=False, b=True)  # and counts an access
        later = await read(memories, stored.memory_id)
        undo = (
            Restore(user_id="ada", run_id=run_id)
            if by_run
            else Restore(user_id="ada", memory_id=stored.memory_id)
        )
        several = await asyncio.gather(*(each.restore(undo) for each in (memories, elsewhere) * 2))
        assert set(several) == {Restored(restored_count=1)}  # one job
        after = await read(memories, stored.memory_id)
        changed = {"content": "a 0", "tags": ("old",), "updated_at": after.updated_at}
        assert after == later.model_copy(update=changed)
        for each in (memories, elsewhere):
            await assert_found(each, a=True, b=False)
        (kept,) = (await memories.list_archived(ListArchived(user_id="ada"))).archived
        assert (kept.reason, kept.run_id, kept.memory) == ("updated", undo.id, later)
        again = Restore(user_id="ada", run_id=undo.id)
        assert await elsewhere.restore(again) == Restored(restored_count=1)
        assert (await read(memories, stored.memory_id)).content == "b 0"
        for each in (memories, elsewhere):
            await assert_found(each, a=False, b=True)
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)


@in_loop
async def test_of_several_updates_the_last_or_the_named_one_is_undone(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        stored = await remember(memories, "ada", "a 0")
        first = await update(memories, stored.memory_id, "b 0")
        await update(memories, stored.memory_id, "c 0")
        await memories.restore(Restore(user_id="ada", memory_id=stored.memory_id))
        assert await contents(database_url, "ada") == {"b 0"}
        await memories.restore(Restore(user_id="ada", run_id=first))
        assert await contents(database_url, "ada") == {"a 0"}
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)


@in_loop
async def test_a_deleted_memory_comes_back_in_its_last_state(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        stored = await remember(memories, "ada", "a 0")
        await update(memories, stored.memory_id, "b 0")
        await memories.delete(Delete(user_id="ada", memory_id=stored.memory_id))
        back = Restore(user_id="ada", memory_id=stored.memory_id)
        assert await memories.restore(back) == Restored(restored_count=1)
        assert await contents(database_url, "ada") == {"b 0"}
        await memories.restore(Restore(user_id="ada", memory_id=stored.memory_id))
        assert await contents(database_url, "ada") == {"a 0"}
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)


@pytest.mark.parametrize("accesses", [0, 2], ids=["updated_one_kept", "other_one_kept"])
@in_loop
async def test_an_update_that_merged_is_undone_with_its_merge(
    database_url: str, accesses: int
) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        stored = await remember(memories, "ada", "a 0")
        await remember(memories, "ada", "b 0")
        for _ in range(accesses):
            await memories.search(Search(user_id="ada", query="b 0", limit=1))
        run_id = await update(memories, stored.memory_id, "b 5")
        assert len(await contents(database_url, "ada")) == 1
        restored = await memories.restore(Restore(user_id="ada", run_id=run_id))
        assert await contents(database_url, "ada") == {"a 0", "b 0"}
        assert restored == Restored(restored_count=1 if accesses else 2)
        await assert_found(memories, a=True, b=True)


@in_loop
async def test_an_update_stays_where_the_earlier_content_is_a_duplicate_now(
    database_url: str,
) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        stored = await remember(memories, "ada", "a 0")
        run_id = await update(memories, stored.memory_id, "b 0")
        await remember(memories, "ada", "a 5")
        restored = await memories.restore(Restore(user_id="ada", run_id=run_id))
        skipped = Skipped(memory_id=stored.memory_id, reason="duplicate")
        assert restored == Restored(restored_count=0, skipped=(skipped,))
        assert await contents(database_url, "ada") == {"a 5", "b 0"}
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)


@in_loop
async def test_an_update_is_undone_in_a_full_space_too(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=2))
        stored = await remember(memories, "ada", "a 0")
        await remember(memories, "ada", "c 0")
        run_id = await update(memories, stored.memory_id, "b 0")
        restored = await memories.restore(Restore(user_id="ada", run_id=run_id))
        assert restored == Restored(restored_count=1)
        assert await contents(database_url, "ada") == {"a 0", "c 0"}
