"""Storing many at once comes to the same in every store of memories."""

import pytest

from bespoke_schemas.memories import (
    Count,
    List,
    ListArchived,
    ListCompactions,
    NewMemory,
    Search,
    StoredMany,
    StoreMany,
)
from bespoke_workers.errors import Refused
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.port import MemoryStore
from tests.integration.memory_workers import ANGLES, ANGLES_POLICY, in_loop, remember
from tests.integration.stores import Open
from tests.integration.test_memories_compaction import word


async def remember_all(store: MemoryStore, *texts: str) -> StoredMany:
    together = tuple(NewMemory(content=one) for one in texts)
    return await store.store_many(StoreMany(user_id="ada", memories=together))


@in_loop
async def test_many_are_stored_once_in_order_with_all_that_was_given(opened: Open) -> None:
    cat = NewMemory(content="Has a cat", kind="pet", tags=("b", "a", "b"), metadata={"x": [1]})
    payload = StoreMany(user_id="ada", memories=(cat, NewMemory(content="Lives in Turin")))
    async with opened() as store:
        first = await store.store_many(payload)
        assert await store.store_many(payload) == first
        assert [one.outcome for one in first.stored] == ["inserted"] * 2
        cat.metadata["x"] = 2
        listed = (await store.list(List(user_id="ada"))).memories
        assert [one.id for one in listed] == [one.memory_id for one in first.stored][::-1]
        kept = listed[1]
        assert (kept.content, kept.kind, kept.tags) == ("Has a cat", "pet", ("b", "a"))
        assert (kept.metadata, kept.access_count) == ({"x": [1]}, 0)
        found = await store.search(Search(user_id="ada", query="cat", limit=1))
        assert found.matches[0].memory.id == first.stored[0].memory_id
        with pytest.raises(Refused, match="belongs to another job"):
            await store.store_many(payload.model_copy(update={"user_id": "bob"}))
        assert (await store.count(Count(user_id="bob"))).count == 0


@in_loop
async def test_duplicates_among_many_and_of_what_is_there_are_merged(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        read = await remember(store, "ada", "a 0", "x")
        await remember(store, "ada", "b 0")
        await store.search(Search(user_id="ada", query="a 0", limit=1))
        done = await remember_all(store, "a 5", "c 0", "c 9", "b 3", "d 0")
        a, c, other_c, b, d = done.stored
        assert (done.count, a.memory_id, a.outcome) == (4, read.memory_id, "merged")
        assert c.memory_id == other_c.memory_id
        assert [one.outcome for one in (c, other_c, b, d)] == ["merged"] * 3 + ["inserted"]
        listed = (await store.list(List(user_id="ada"))).memories
        assert {one.content: one.tags for one in listed} == {
            "a 0": ("x",), "b 3": (), "c 9": (), "d 0": (),
        }  # fmt: skip
        archived = (await store.list_archived(ListArchived(user_id="ada"))).archived
        assert {one.memory.content: (one.reason, one.kept_id) for one in archived} == {
            "a 5": ("duplicate", read.memory_id),
            "c 0": ("duplicate", c.memory_id),
            "b 0": ("duplicate", b.memory_id),
        }
        assert all(one.similarity and one.similarity >= ANGLES.threshold for one in archived)


@in_loop
async def test_many_are_compacted_once_and_the_last_of_them_stay(opened: Open) -> None:
    async with opened(Policy(max_memories=10)) as store:
        await remember_all(store, *(word(number) for number in range(8)))
        some = await remember_all(store, *(word(number) for number in range(20, 24)))
        assert (some.count, some.compaction.total_compacted) == (8, 4)
        assert {one.outcome for one in some.stored} == {"inserted"}
        more = await remember_all(store, *(word(number) for number in range(40, 55)))
        assert [one.outcome for one in more.stored] == ["archived"] * 5 + ["inserted"] * 10
        listed = (await store.list(List(user_id="ada"))).memories
        assert [one.content for one in listed] == [word(number) for number in range(54, 44, -1)]
        runs = (await store.list_compactions(ListCompactions(user_id="ada"))).runs
        assert [run.report for run in runs] == [more.compaction, some.compaction]
        assert more.compaction.exported_to is None
