"""Spaces that several users share, in every kind of store."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from bespoke_schemas.ids import uuid7
from bespoke_schemas.memories import (
    Compact,
    Count,
    Delete,
    GetPolicy,
    Join,
    Leave,
    List,
    ListArchived,
    ListMembers,
    Restore,
    Search,
    SetPolicy,
    Store,
    Update,
)
from bespoke_schemas.queues import queue_name
from bespoke_workers.errors import Refused
from bespoke_workers.memories.port import MemoryStore
from tests.integration.memory_workers import in_loop
from tests.integration.stores import Open


async def share(store: MemoryStore, *users: str, space: str = "crew") -> None:
    for user_id in users:
        await store.join(Join(user_id=user_id, space=space))


def said(user_id: str, content: str, space: str | None = "crew") -> Store:
    return Store(user_id=user_id, space=space, content=content)


async def held(store: MemoryStore, user_id: str, space: str | None = "crew") -> dict[str, str]:
    listed = await store.list(List(user_id=user_id, space=space))
    return {one.content: str(one.metadata.get("said_by")) for one in listed.memories}


@in_loop
async def test_members_see_what_any_of_them_says(opened: Open) -> None:
    async with opened() as store:
        await share(store, "ada", "bob")
        await store.store(said("ada", "The office closes at noon on Fridays"))

        found = await store.search(
            Search(user_id="bob", space="crew", query="When does the office close?")
        )

        (match,) = found.matches
        assert match.memory.metadata == {"said_by": "ada"}
        assert await held(store, "bob", space=None) == {}


@in_loop
async def test_what_two_members_say_is_merged(opened: Open) -> None:
    async with opened() as store:
        await share(store, "ada", "bob")
        first = await store.store(said("ada", "The office closes at noon on Fridays"))

        second = await store.store(said("bob", "the office closes at noon on fridays"))

        assert (second.outcome, second.count) == ("merged", 1)
        assert second.merged_with == first.memory_id
        assert await held(store, "ada") == {"the office closes at noon on fridays": "bob"}
        archived = await store.list_archived(ListArchived(user_id="ada", space="crew"))
        assert [one.memory.metadata for one in archived.archived] == [{"said_by": "ada"}]


@in_loop
async def test_a_shared_space_and_its_members_own_are_apart(opened: Open) -> None:
    async with opened() as store:
        await share(store, "ada")
        await store.store(said("ada", "Likes tea", space=None))

        stored = await store.store(said("ada", "Likes tea"))

        assert stored.outcome == "inserted"
        assert await held(store, "ada", space=None) == {"Likes tea": "None"}
        assert await held(store, "ada") == {"Likes tea": "ada"}


@in_loop
async def test_nobody_else_reads_or_changes_a_shared_space(opened: Open) -> None:
    async with opened() as store:
        await share(store, "ada")
        stored = await store.store(said("ada", "Likes tea"))
        await share(store, "eve", space="other")

        refused: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.store(said("eve", "Likes coffee")),
            lambda: store.search(Search(user_id="eve", space="crew", query="tea")),
            lambda: store.list(List(user_id="eve", space="crew")),
            lambda: store.count(Count(user_id="eve", space="crew")),
            lambda: store.delete(Delete(user_id="eve", space="crew", memory_id=stored.memory_id)),
            lambda: store.set_policy(SetPolicy(user_id="eve", space="crew", max_memories=1)),
            lambda: store.compact(Compact(user_id="eve", space="crew", force=True)),
        ]
        for ask in refused:
            with pytest.raises(Refused, match=r"enqueue memories\.Join for the user first"):
                await ask()
        assert await held(store, "ada") == {"Likes tea": "ada"}


@in_loop
async def test_who_leaves_sees_no_more_of_it_and_what_they_said_stays(opened: Open) -> None:
    async with opened() as store:
        await share(store, "ada", "bob")
        await store.store(said("ada", "Likes tea"))

        left = await store.leave(Leave(user_id="ada", space="crew"))

        assert left.members == ("bob",)
        with pytest.raises(Refused):
            await held(store, "ada")
        assert await held(store, "bob") == {"Likes tea": "ada"}


@in_loop
async def test_joining_takes_effect_once_per_job(opened: Open) -> None:
    async with opened() as store:
        join = Join(user_id="ada", space="crew")
        await store.join(join)
        await store.leave(Leave(user_id="ada", space="crew"))

        again = await store.join(join)

        assert again.members == ("ada",)  # as it was answered
        assert (await store.list_members(ListMembers(space="crew"))).members == ()


@in_loop
async def test_a_shared_space_has_a_policy_of_its_own(opened: Open) -> None:
    async with opened() as store:
        await share(store, "ada", "bob")
        await store.set_policy(SetPolicy(user_id="ada", space="crew", max_memories=5))

        for content in ("ash", "birch", "cedar", "elm", "fir", "oak"):
            stored = await store.store(said("bob", content))

        assert stored.count <= 5
        assert set((await held(store, "ada")).values()) == {"bob"}
        crew = await store.get_policy(GetPolicy(user_id="bob", space="crew"))
        assert crew.max_memories == 5
        assert (await store.get_policy(GetPolicy(user_id="bob"))).max_memories == 1000


@in_loop
async def test_what_is_given_as_said_by_is_not_believed(opened: Open) -> None:
    async with opened() as store:
        await share(store, "ada", "bob")
        forged = said("ada", "Likes tea").model_copy(
            update={"metadata": {"said_by": "bob", "a": 1}}
        )
        stored = await store.store(forged)

        assert await held(store, "bob") == {"Likes tea": "ada"}

        change = Update(
            user_id="bob",
            space="crew",
            memory_id=stored.memory_id,
            metadata={"said_by": "ada"},
        )
        await store.update(change)
        assert await held(store, "bob") == {"Likes tea": "bob"}


@in_loop
async def test_what_left_a_shared_space_comes_back_there(opened: Open) -> None:
    async with opened() as store:
        await share(store, "ada", "bob")
        stored = await store.store(said("ada", "Likes tea"))
        gone = Delete(id=uuid7(), user_id="bob", space="crew", memory_id=stored.memory_id)
        await store.delete(gone)

        back = await store.restore(Restore(user_id="ada", space="crew", run_id=gone.id))

        assert back.restored_count == 1
        assert await held(store, "bob") == {"Likes tea": "ada"}


def test_no_user_id_is_that_of_a_shared_space() -> None:
    with pytest.raises(ValidationError, match=r"U\+001F"):
        Store(user_id="\x1fcrew", content="Likes tea")


def test_a_compaction_of_a_shared_space_names_the_member_who_asks() -> None:
    with pytest.raises(ValidationError, match="say which of its members asks"):
        Compact(space="crew")


def test_all_of_a_shared_space_goes_to_one_queue() -> None:
    asked = [said("ada", "x"), said("bob", "y"), Join(user_id="eve", space="crew")]

    assert len({queue_name(one.queue, one.subject()) for one in asked}) == 1
