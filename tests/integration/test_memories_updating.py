"""Changing a memory: embedded anew, merged by the rules of a store, its earlier state archived."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from bespoke_schemas.memories import FindSimilar, Get, Memory, Search, Update
from bespoke_workers.memories.embedders import Unloadable
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
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

ARCHIVED = "SELECT * FROM memory_archive WHERE user_id = 'ada' ORDER BY removed_at, reason DESC"


async def read(memories: Memories, memory_id: UUID) -> Memory:
    """Return a memory of ada."""
    memory = (await memories.get(Get(user_id="ada", memory_id=memory_id))).memory
    assert memory is not None
    return memory


async def access(memories: Memories, content: str, times: int = 1) -> None:
    """Search for a text so often."""
    for _ in range(times):
        await memories.search(Search(user_id="ada", query=content, limit=1))


@in_loop
async def test_an_update_moves_the_memory_in_every_index(database_url: str) -> None:
    clock = Clock()
    async with (
        worker(database_url, ANGLES_POLICY, ANGLES, clock) as memories,
        worker(database_url, ANGLES_POLICY, ANGLES, clock) as elsewhere,
    ):
        stored = await remember(memories, "ada", "a 0", "x")
        await remember(memories, "ada", "b 0")
        await access(elsewhere, "a 0")
        before = await read(memories, stored.memory_id)
        payload = Update(user_id="ada", memory_id=stored.memory_id, content="c 0")
        updated = await memories.update(payload)
        assert updated.merged_with is None
        assert updated.memory == await read(elsewhere, stored.memory_id)
        expected = {"content": "c 0", "updated_at": clock.now}
        assert updated.memory == before.model_copy(update=expected)
        for each in (memories, elsewhere):
            for sought, found in (("c 0", ["c 0"]), ("a 0", [])):
                search = FindSimilar(user_id="ada", content=sought, threshold=0.5)
                matches = (await each.find_similar(search)).matches
                assert [match.memory.content for match in matches] == found
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)
    (kept,) = await query(database_url, ARCHIVED)
    assert (kept.memory_id, kept.reason, kept.run_id) == (stored.memory_id, "updated", payload.id)
    assert (kept.content, kept.tags) == ("a 0", ["x"])
    assert kept.removed_version == 3


@in_loop
async def test_what_is_not_given_stays(database_url: str) -> None:
    async with worker(database_url) as memories, worker(database_url) as elsewhere:
        stored = await remember(memories, "ada", "Has a cat", "x")
        await access(elsewhere, "cat")
        before = await read(memories, stored.memory_id)
        for change in ({"kind": "pet"}, {"tags": ("y", "z", "y")}, {"metadata": {"n": [1]}}):
            payload = Update.model_validate(
                {"user_id": "ada", "memory_id": stored.memory_id, **change}
            )
            await memories.update(payload)
        after = await read(memories, stored.memory_id)
        assert (after.kind, after.tags, after.metadata) == ("pet", ("y", "z"), {"n": [1]})
        assert (after.content, after.created_at) == (before.content, before.created_at)
        assert (after.access_count, after.updated_at > before.updated_at) == (1, True)
        await memories.update(Update(user_id="ada", memory_id=stored.memory_id, tags=()))
        assert (await read(memories, stored.memory_id)).tags == ()
        await access(elsewhere, "cat")
        assert (await read(memories, stored.memory_id)).access_count == 2
        await assert_sound(database_url, "ada")


@pytest.mark.parametrize(
    ("accesses", "kept", "gone"), [(0, "first", "second"), (2, "second", "first")]
)
@in_loop
async def test_an_update_to_a_duplicate_is_merged_as_a_store_would_be(
    database_url: str, accesses: int, kept: str, gone: str
) -> None:
    async with (
        worker(database_url, ANGLES_POLICY, ANGLES) as memories,
        worker(database_url, ANGLES_POLICY, ANGLES) as elsewhere,
    ):
        ids = {
            "first": (await remember(memories, "ada", "a 0", "x")).memory_id,
            "second": (await remember(memories, "ada", "b 0", "y")).memory_id,
        }
        await access(elsewhere, "b 0", accesses)
        await remember(memories, "eve", "b 1")
        updated = await memories.update(
            Update(user_id="ada", memory_id=ids["first"], content="b 5")
        )
        assert updated.memory is not None
        assert updated.memory.id == ids[kept]
        assert updated.memory.content == ("b 5" if kept == "first" else "b 0")
        assert updated.merged_with == ids["second"]
        assert (updated.memory.access_count, set(updated.memory.tags)) == (accesses, {"x", "y"})
        rest = {updated.memory.content}
        assert await contents(database_url, "ada") == rest
        for each in (memories, elsewhere):
            search = Search(user_id="ada", query="b 0", threshold=-1)
            matches = (await each.search(search)).matches
            assert {match.memory.content for match in matches} == rest
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)
    earlier, merged = await query(database_url, ARCHIVED)
    assert (earlier.reason, earlier.content) == ("updated", "a 0")
    assert (merged.reason, merged.memory_id, merged.kept_id) == ("duplicate", ids[gone], ids[kept])
    assert merged.similarity == pytest.approx(0.996, abs=2e-3)


@in_loop
async def test_the_guard_keeps_an_update_apart(database_url: str) -> None:
    policy = Policy(similarity_threshold=0.5)
    async with worker(database_url, policy) as memories:
        await remember(memories, "ada", "Gets up at 6 in the morning")
        other = await remember(memories, "ada", "Likes tea")
        for content, merged in (
            ("Gets up at 7 in the morning", False),
            ("Gets up at 6 in the morning!", True),
        ):
            payload = Update(user_id="ada", memory_id=other.memory_id, content=content)
            assert ((await memories.update(payload)).merged_with is not None) == merged
            await assert_sound(database_url, "ada", policy)


@in_loop
async def test_what_is_missing_or_another_users_is_not_updated(database_url: str) -> None:
    async with worker(database_url) as memories:
        stored = await remember(memories, "ada", "Has a cat")
        await remember(memories, "eve", "Likes tea")
        for user, memory_id in (("eve", stored.memory_id), ("ada", uuid4()), ("bob", uuid4())):
            updated = await memories.update(
                Update(user_id=user, memory_id=memory_id, content="Has a dog")
            )
            assert (updated.memory, updated.merged_with) == (None, None)
        assert await contents(database_url, "ada") == {"Has a cat"}
    assert await query(database_url, "SELECT 1 FROM memory_archive") == []


@in_loop
async def test_an_update_takes_effect_once_however_often_it_is_delivered(
    database_url: str,
) -> None:
    async with workers(database_url, 3) as several:
        stored = await remember(several[0], "ada", "Has a cat")
        first = Update(user_id="ada", memory_id=stored.memory_id, content="Has a dog")
        results = await asyncio.gather(*(each.update(first) for each in several * 2))
        assert all(result == results[0] for result in results)
        await several[1].update(
            Update(user_id="ada", memory_id=stored.memory_id, content="Has a horse")
        )
        assert await several[2].update(first) == results[0]
        assert await contents(database_url, "ada") == {"Has a horse"}
        await assert_sound(database_url, "ada")
    assert len(await query(database_url, ARCHIVED)) == 2


@in_loop
async def test_updates_and_stores_at_once_leave_no_duplicates(database_url: str) -> None:
    async with workers(database_url, 4) as several:
        ids = [
            (await remember(several[0], "ada", f"letter {chr(97 + i) * 4}")).memory_id
            for i in range(8)
        ]

        async def one(number: int) -> None:
            content = f"word {chr(97 + number % 10) * 5}"
            await several[number % 4].update(
                Update(user_id="ada", memory_id=ids[number % 8], content=content)
            )
            await remember(several[(number + 1) % 4], "ada", content)

        await asyncio.gather(*(one(number) for number in range(24)))
        await assert_sound(database_url, "ada")
        there = await contents(database_url, "ada")
        for memories in several:
            search = Search(user_id="ada", query="word", threshold=-1, limit=200)
            matches = (await memories.search(search)).matches
            assert {match.memory.content for match in matches} == there


@in_loop
async def test_only_a_new_content_needs_the_embedder_of_the_space(database_url: str) -> None:
    gone = replace(ANGLES, name="words")
    async with worker(database_url, embedder=gone) as memories:
        stored = await remember(memories, "ada", "a 0")
    async with worker(database_url, embedder=ANGLES) as other:
        change = Update(user_id="ada", memory_id=stored.memory_id, content="a 0")
        with pytest.raises(Unloadable, match="'words' \\(32 dimensions\\)"):
            await other.update(change)
        await other.update(Update(user_id="ada", memory_id=stored.memory_id, kind="pet"))
    async with worker(database_url, embedder=gone) as memories:
        assert (await read(memories, stored.memory_id)).kind == "pet"
        await assert_sound(database_url, "ada", embedder=gone)


def test_an_update_has_to_change_something() -> None:
    with pytest.raises(ValidationError, match="changes nothing"):
        Update(user_id="ada", memory_id=uuid4())
