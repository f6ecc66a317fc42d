"""Searching, listing and counting."""

import pytest

from bespoke_schemas.memories import Count, Found, List, Search, Store
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    START,
    Clock,
    in_loop,
    query,
    remember,
    worker,
)


def texts(found: Found) -> list[str]:
    """Return what was found."""
    return [match.memory.content for match in found.matches]


@in_loop
async def test_search_finds_the_most_similar_first(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        for content in ("a 0", "a 60", "a 120", "b 0"):
            await remember(memories, "ada", content)
        found = await memories.search(Search(user_id="ada", query="a 50"))
        assert texts(found)[:2] == ["a 60", "a 0"]
        similarities = [match.similarity for match in found.matches]
        assert similarities == pytest.approx([0.985, 0.643, 0.342, 0.0], abs=2e-3)
        assert texts(await memories.search(Search(user_id="ada", query="a 50", limit=1))) == [
            "a 60"
        ]
        above = Search(user_id="ada", query="a 50", threshold=0.5)
        assert texts(await memories.search(above)) == ["a 60", "a 0"]
        none = Search(user_id="ada", query="c 0", threshold=0.5)
        assert texts(await memories.search(none)) == []


@in_loop
async def test_search_keeps_to_what_carries_all_tags(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        await remember(memories, "ada", "a 0", "x")
        await remember(memories, "ada", "a 30", "x", "y")
        await remember(memories, "ada", "a 60", "y", "x", "z")
        both = Search(user_id="ada", query="a 0", tags=("x", "y"), limit=1)
        assert texts(await memories.search(both)) == ["a 30"]
        assert texts(await memories.search(Search(user_id="ada", query="a 0", tags=("n",)))) == []


@in_loop
async def test_search_counts_the_accesses_of_what_it_found(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, ANGLES_POLICY, ANGLES, clock) as memories:
        for content in ("a 0", "a 60", "b 0"):
            await remember(memories, "ada", content)
        await memories.search(Search(user_id="ada", query="a 0", limit=1))
        found = await memories.search(Search(user_id="ada", query="a 0", limit=2))
        assert [match.memory.access_count for match in found.matches] == [2, 1]
        assert [match.memory.last_accessed_at for match in found.matches] == [clock.now] * 2
        listed = await memories.list(List(user_id="ada"))
        assert [one.access_count for one in listed.memories] == [0, 1, 2]
    (space,) = await query(database_url, "SELECT * FROM memory_space")
    assert (space.most_accessed, space.version) == (2, 3)


@in_loop
async def test_list_pages_newest_first(database_url: str) -> None:
    async with worker(database_url) as memories:
        for content in ("one sea", "two Moons", "a 100% garden", "under_score", "ÄPFEL"):
            await remember(memories, "ada", content, *content.split())
        page = await memories.list(List(user_id="ada", limit=2, offset=1))
        assert [one.content for one in page.memories] == ["under_score", "a 100% garden"]
        assert page.total == 5
        assert page.memories[0].created_at > page.memories[1].created_at > START
        beyond = await memories.list(List(user_id="ada", offset=5))
        assert (beyond.memories, beyond.total) == ((), 5)
        nobody = await memories.list(List(user_id="eve"))
        assert (nobody.memories, nobody.total) == ((), 0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("moon", ["two Moons"]),
        ("O", ["under_score", "two Moons", "one sea"]),
        ("%", ["a 100% garden", "back\\slash"]),
        ("_", ["under_score"]),
        ("\\", ["back\\slash"]),
        ("äpf", ["ÄPFEL"]),
        ("", ["ÄPFEL", "under_score", "a 100% garden", "back\\slash", "two Moons", "one sea"]),
        ("nothing", []),
    ],
)
@in_loop
async def test_list_finds_a_text_as_it_is_written_but_for_case(
    database_url: str, text: str, found: list[str]
) -> None:
    async with worker(database_url) as memories:
        for content in ("one sea", "two Moons", "back\\slash", "a 100% garden", "under_score"):
            await remember(memories, "ada", content)
        await remember(memories, "ada", "ÄPFEL")
        listed = await memories.list(List(user_id="ada", text=text))
        expected = [one for one in found if text in one.lower() or text == "O"]
        assert [one.content for one in listed.memories] == expected
        assert listed.total == len(expected)


@in_loop
async def test_list_keeps_to_what_carries_all_tags(database_url: str) -> None:
    async with worker(database_url) as memories:
        await remember(memories, "ada", "one sea", "x")
        await remember(memories, "ada", "two moons", "x", "y")
        listed = await memories.list(List(user_id="ada", tags=("y", "x")))
        assert [one.content for one in listed.memories] == ["two moons"]
        assert listed.total == 1


@in_loop
async def test_count_counts_what_there_is(database_url: str) -> None:
    async with worker(database_url) as memories:
        assert (await memories.count(Count(user_id="ada"))).count == 0
        await remember(memories, "ada", "one sea")
        assert (await memories.count(Count(user_id="ada"))).count == 1


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["a 0", "a 30", "a 60", "b 0"]),
        ({"kind": "pet"}, ["a 30", "b 0"]),
        ({"kind": "pet", "limit": 1}, ["a 30"]),
        ({"kind": "pet", "tags": ("x",)}, ["a 30"]),
        ({"kind": "none"}, []),
        ({"text": "A "}, ["a 0", "a 30", "a 60"]),
        ({"text": " 0", "limit": 2}, ["a 0", "b 0"]),
        ({"text": "a%"}, []),
        ({"text": "_"}, []),
        ({"text": "0", "kind": "pet", "threshold": 0.5}, ["a 30"]),
        ({"text": "60", "tags": ("x",), "kind": "fact", "limit": 1}, ["a 60"]),
        ({"text": "60", "tags": ("x",), "kind": "fact", "threshold": 0.9}, []),
    ],
)
@in_loop
async def test_search_by_kind_and_text_keeps_to_them_before_the_limit(
    database_url: str, asked: dict[str, object], found: list[str]
) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        for content, kind in (("a 0", "fact"), ("a 30", "pet"), ("a 60", "fact"), ("b 0", "pet")):
            tags = ("x",) if content in {"a 30", "a 60"} else ()
            await memories.store(Store(user_id="ada", content=content, kind=kind, tags=tags))
        await memories.store(Store(user_id="eve", content="a 0", kind="pet", tags=("x",)))
        search = Search.model_validate({"user_id": "ada", "query": "a 0", **asked})
        assert texts(await memories.search(search)) == found
    accessed = await query(database_url, "SELECT content FROM memory WHERE access_count = 1")
    assert sorted(row.content for row in accessed) == sorted(found)
