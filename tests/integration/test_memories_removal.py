"""Deleting and clearing: into the archive, once, of one user, and out of every index."""

import asyncio
from uuid import uuid4

import pytest

from bespoke_schemas.memories import (
    Clear,
    Cleared,
    Count,
    Delete,
    Deleted,
    FindSimilar,
    Search,
    Store,
)
from bespoke_workers.errors import Refused
from bespoke_workers.memories.index import UserIndex
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe import events
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    Clock,
    assert_sound,
    contents,
    in_loop,
    query,
    remember,
    worker,
    workers,
)


async def found(memories: Memories, content: str) -> set[str]:
    """Search among all of a user's memories."""
    search = Search(user_id="ada", query=content, threshold=-1, limit=200)
    return {match.memory.content for match in (await memories.search(search)).matches}


def held(memories: Memories) -> UserIndex:
    """Return the cached index of ada."""
    index = memories.indexes.get("ada")
    assert index is not None
    return index


@in_loop
async def test_a_deleted_memory_is_archived_and_found_no_more(database_url: str) -> None:
    async with worker(database_url) as memories, worker(database_url) as elsewhere:
        cat = await remember(memories, "ada", "Has a cat")
        await remember(memories, "ada", "Likes tea")
        await remember(memories, "eve", "Has a cat")
        assert await found(elsewhere, "cat") == {"Has a cat", "Likes tea"}
        payload = Delete(user_id="ada", memory_id=cat.memory_id)
        assert (await memories.delete(payload)).deleted
        assert len(held(memories)) == 1
        assert await found(memories, "cat") == await found(elsewhere, "cat") == {"Likes tea"}
        assert await contents(database_url, "eve") == {"Has a cat"}
        await assert_sound(database_url, "ada")
    (gone,) = await query(database_url, "SELECT * FROM memory_archive")
    assert (gone.memory_id, gone.user_id, gone.reason) == (cat.memory_id, "ada", "deleted")
    assert (gone.run_id, gone.kept_id, gone.removed_version) == (payload.id, None, 3)
    assert gone.content == "Has a cat"


@in_loop
async def test_other_processes_drop_what_was_removed_without_reading_all_anew(
    database_url: str,
) -> None:
    async with (
        worker(database_url, ANGLES_POLICY, ANGLES) as memories,
        worker(database_url, ANGLES_POLICY, ANGLES) as elsewhere,
    ):
        stored = [await remember(memories, "ada", f"{topic} 0", topic) for topic in "abcd"]
        await found(elsewhere, "a 0")
        index = held(elsewhere)
        await memories.delete(Delete(user_id="ada", memory_id=stored[0].memory_id))
        await memories.clear(Clear(user_id="ada", tags=("b",)))
        assert await found(elsewhere, "a 0") == {"c 0", "d 0"}
        assert held(elsewhere) is index
        again = await remember(elsewhere, "ada", "a 0")
        assert (again.outcome, again.count) == ("inserted", 3)


@in_loop
async def test_a_removal_delivered_again_removes_nothing_more(database_url: str) -> None:
    async with workers(database_url, 2) as (memories, elsewhere):
        cat = await remember(memories, "ada", "Has a cat")
        deletion = Delete(user_id="ada", memory_id=cat.memory_id)
        clearing = Clear(user_id="ada")
        answers = await asyncio.gather(
            *(each.delete(deletion) for each in (memories, elsewhere, memories))
        )
        assert answers == [Deleted(deleted=True)] * 3
        await remember(memories, "ada", "Has a cat")
        await remember(memories, "ada", "Likes tea")
        assert await memories.delete(deletion) == Deleted(deleted=True)
        assert await elsewhere.clear(clearing) == Cleared(removed_count=2)
        await remember(memories, "ada", "Likes tea")
        assert await memories.clear(clearing) == Cleared(removed_count=2)
        assert await contents(database_url, "ada") == {"Likes tea"}
        await assert_sound(database_url, "ada")
        with pytest.raises(Refused, match="belongs to another job"):
            await memories.clear(Clear(id=clearing.id, user_id="eve"))


@in_loop
async def test_what_is_missing_or_another_users_is_not_deleted(database_url: str) -> None:
    async with worker(database_url) as memories:
        cat = await remember(memories, "ada", "Has a cat")
        await remember(memories, "eve", "Likes tea")
        for user, memory_id in (("eve", cat.memory_id), ("ada", uuid4()), ("bob", cat.memory_id)):
            deleted = await memories.delete(Delete(user_id=user, memory_id=memory_id))
            assert not deleted.deleted
        assert (await memories.clear(Clear(user_id="bob"))).removed_count == 0
        assert (await memories.clear(Clear(user_id="ada", kind="none"))).removed_count == 0
        assert (await memories.count(Count(user_id="ada"))).count == 1
    rows = await query(database_url, "SELECT version FROM memory_space")
    assert [row.version for row in rows] == [1, 1]
    assert await query(database_url, "SELECT 1 FROM memory_archive") == []


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({}, set[str]()),
        ({"kind": "pet"}, {"a 0", "b 0"}),
        ({"tags": ("x",)}, {"a 0", "c 0"}),
        ({"tags": ("x", "y")}, {"a 0", "b 0", "c 0"}),
        ({"tags": ("x",), "kind": "fact"}, {"a 0", "c 0", "d 0"}),
    ],
)
@in_loop
async def test_a_clear_removes_what_it_names(
    database_url: str, asked: dict[str, object], left: set[str]
) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        for content, kind, tags in (
            ("a 0", "fact", ()),
            ("b 0", "fact", ("x",)),
            ("c 0", "pet", ("y",)),
            ("d 0", "pet", ("y", "x")),
        ):
            await memories.store(Store(user_id="ada", content=content, kind=kind, tags=tags))
        await memories.store(Store(user_id="eve", content="e 0", kind="pet", tags=("x", "y")))
        cleared = await memories.clear(Clear.model_validate({"user_id": "ada", **asked}))
        assert cleared.removed_count == 4 - len(left)
        assert await contents(database_url, "ada") == left == await found(memories, "a 0")
        assert await contents(database_url, "eve") == {"e 0"}
    archived = await query(database_url, "SELECT content, reason FROM memory_archive")
    assert {row.content for row in archived} == {"a 0", "b 0", "c 0", "d 0"} - left
    assert {row.reason for row in archived} == {"cleared"}


@in_loop
async def test_counters_and_watermarks_are_exact_after_a_removal(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, ANGLES_POLICY, ANGLES, clock) as memories:
        stored = [(await remember(memories, "ada", f"{topic} 0")).memory_id for topic in "abc"]
        second = await query(
            database_url, "SELECT created_at FROM memory WHERE id = :id", id=stored[1]
        )
        for content in ("a 0", "a 0", "b 0"):
            await memories.search(Search(user_id="ada", query=content, limit=1))
        await memories.delete(Delete(user_id="ada", memory_id=stored[0]))
        (space,) = await query(database_url, "SELECT * FROM memory_space")
        assert (space.version, space.count, space.most_accessed) == (4, 2, 1)
        assert space.oldest_created_at == second[0].created_at
        assert space.relevance_check_at == 0
        await memories.clear(Clear(user_id="ada"))
        (space,) = await query(database_url, "SELECT * FROM memory_space")
        assert (space.version, space.count, space.most_accessed) == (5, 0, 0)
        assert space.oldest_created_at is None
        assert (await remember(memories, "ada", "d 0")).count == 1
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)


@in_loop
async def test_stores_and_removals_at_once_leave_a_sound_space(database_url: str) -> None:
    policy = Policy(max_memories=20)
    async with workers(database_url, 4, policy) as several:
        first = [await remember(several[0], "ada", f"letter {chr(97 + i) * 4}") for i in range(12)]

        async def one(number: int) -> None:
            memories = several[number % 4]
            await remember(memories, "ada", f"word {chr(97 + number) * 5}")
            memory_id = first[number % 12].memory_id
            await memories.delete(Delete(user_id="ada", memory_id=memory_id))
            if number == 9:
                await memories.clear(Clear(user_id="ada"))
            await memories.find_similar(
                FindSimilar(user_id="ada", content="word", threshold=-1, limit=50)
            )

        await asyncio.gather(*(one(number) for number in range(24)))
        await remember(several[0], "ada", "the last one")
        await assert_sound(database_url, "ada", policy)
        there = await contents(database_url, "ada")
        for memories in several:
            assert await found(memories, "word") == there


@in_loop
async def test_a_removal_is_told_of_without_contents(database_url: str) -> None:
    seen: list[events.Event] = []
    ends = [events.subscribe(f"dspy.memory.{name}", seen.append) for name in ("deleted", "cleared")]
    async with worker(database_url) as memories:
        cat = await remember(memories, "ada", "Has a cat")
        await remember(memories, "ada", "Likes tea")
        for _ in range(2):
            await memories.delete(Delete(user_id="ada", memory_id=cat.memory_id))
        await memories.clear(Clear(user_id="ada"))
    for end in ends:
        end()
    user = events.hashed("ada")
    assert seen == [
        {"event": "dspy.memory.deleted", "user": user, "removed_count": 1, "after_count": 1},
        {"event": "dspy.memory.cleared", "user": user, "removed_count": 1, "after_count": 0},
    ]
