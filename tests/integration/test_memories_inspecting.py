"""Get, statistics and what is similar: looks that leave no trace."""

import asyncio
from uuid import uuid4

import pytest
from pydantic import ValidationError

from bespoke_schemas.memories import FindSimilar, Found, Get, Search, SpaceStats, Stats, Store
from bespoke_workers.memories.policy import Policy
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
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
async def test_a_memory_is_read_by_its_id_and_by_its_user_alone(database_url: str) -> None:
    async with worker(database_url) as memories:
        payload = Store(
            user_id="ada", content="Has a cat", kind="pet", tags=("x", "y"), metadata={"n": [1]}
        )
        await memories.store(payload)
        got = (await memories.get(Get(user_id="ada", memory_id=payload.id))).memory
        assert got is not None
        assert (got.id, got.content, got.kind) == (payload.id, "Has a cat", "pet")
        assert (got.tags, got.metadata, got.access_count) == (("x", "y"), {"n": [1]}, 0)
        for user, memory_id in (("eve", payload.id), ("ada", uuid4())):
            assert (await memories.get(Get(user_id=user, memory_id=memory_id))).memory is None
    assert (await query(database_url, "SELECT access_count FROM memory"))[0].access_count == 0


@in_loop
async def test_statistics_tell_what_a_space_holds(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, Policy(dedup_guard=False), ANGLES, clock) as memories:
        nothing = SpaceStats(
            count=0, oldest_created_at=None, newest_created_at=None, most_accessed=0,
            accesses_total=0, by_kind={}, archived_count=0, embedder=None, dim=None,
        )  # fmt: skip
        assert await memories.stats(Stats(user_id="ada")) == nothing
        await memories.store(Store(user_id="ada", content="a 0", kind="pet"))
        first = clock.now
        await memories.store(Store(user_id="ada", content="b 0", kind="pet"))
        await memories.store(Store(user_id="ada", content="c 0"))
        await memories.store(Store(user_id="ada", content="c 1"))
        last = clock.now
        await remember(memories, "eve", "d 0")
        for limit in (1, 2):
            await memories.search(Search(user_id="ada", query="a 0", limit=limit))
        assert await memories.stats(Stats(user_id="ada")) == SpaceStats(
            count=3, oldest_created_at=first, newest_created_at=last, most_accessed=2,
            accesses_total=3, by_kind={"pet": 2, "fact": 1}, archived_count=1,
            embedder="angles", dim=32,
        )  # fmt: skip


@in_loop
async def test_similar_ones_are_found_by_text_and_by_memory_and_not_accessed(
    database_url: str,
) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        first = await remember(memories, "ada", "a 0")
        for content in ("a 20", "a 40", "b 0"):
            await remember(memories, "ada", content)
        await remember(memories, "eve", "a 1")
        by_text = FindSimilar(user_id="ada", content="a 5", threshold=0.7)
        assert texts(await memories.find_similar(by_text)) == ["a 0", "a 20", "a 40"]
        by_memory = FindSimilar(user_id="ada", memory_id=first.memory_id, threshold=0.7)
        found = await memories.find_similar(by_memory)
        assert texts(found) == ["a 20", "a 40"]
        assert [match.similarity for match in found.matches] == pytest.approx(
            [0.940, 0.766], abs=2e-3
        )
        limited = FindSimilar(user_id="ada", content="a 5", threshold=-1, limit=2)
        assert texts(await memories.find_similar(limited)) == ["a 0", "a 20"]
    (space,) = await query(
        database_url, "SELECT most_accessed, version FROM memory_space WHERE user_id = 'ada'"
    )
    assert (space.most_accessed, space.version) == (0, 4)
    counted = await query(database_url, "SELECT sum(access_count) AS accesses FROM memory")
    assert counted[0].accesses == 0


@in_loop
async def test_similar_means_the_threshold_of_the_space_unless_one_is_given(
    database_url: str,
) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        for content in ("a 0", "a 20"):
            await remember(memories, "ada", content)
        near = FindSimilar(user_id="ada", content="a 5")
        assert texts(await memories.find_similar(near)) == ["a 0", "a 20"]
        assert texts(await memories.find_similar(near.model_copy(update={"content": "a 1"}))) == [
            "a 0"
        ]
        await query(
            database_url,
            """UPDATE memory_space SET policy = '{"similarity_threshold": 0.999}',
            version = version + 1""",
        )
        assert texts(await memories.find_similar(near)) == []


@in_loop
async def test_nothing_is_similar_to_what_the_user_does_not_have(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        stored = await remember(memories, "ada", "a 0")
        for user, memory_id in (("eve", stored.memory_id), ("ada", uuid4())):
            sought = FindSimilar(user_id=user, memory_id=memory_id, threshold=-1)
            assert (await memories.find_similar(sought)).matches == ()
        alone = FindSimilar(user_id="ada", memory_id=stored.memory_id, threshold=-1)
        assert (await memories.find_similar(alone)).matches == ()


@in_loop
async def test_similar_ones_are_found_while_others_store(database_url: str) -> None:
    async with worker(database_url) as memories, worker(database_url) as elsewhere:
        stored = await remember(memories, "ada", "letter zero")
        sought = FindSimilar(user_id="ada", memory_id=stored.memory_id, threshold=-1, limit=200)

        async def look() -> int:
            return len((await memories.find_similar(sought)).matches)

        words = [f"word{chr(97 + number) * 3}" for number in range(20)]
        seen = await asyncio.gather(
            *(each for word in words for each in (remember(elsewhere, "ada", word), look()))
        )
        assert max(count for count in seen if isinstance(count, int)) <= 20
        assert await look() == 20


@in_loop
async def test_a_space_of_another_embedder_is_looked_at_with_its_own(database_url: str) -> None:
    async with worker(database_url) as memories:
        stored = await remember(memories, "ada", "Has a cat")
    async with worker(database_url, embedder=ANGLES) as other:
        sought = FindSimilar(user_id="ada", content="has a CAT", threshold=0.9)
        (match,) = (await other.find_similar(sought)).matches
        assert (match.memory.id, match.similarity) == (stored.memory_id, 1.0)
        assert (await other.stats(Stats(user_id="ada"))).count == 1
        got = await other.get(Get(user_id="ada", memory_id=stored.memory_id))
        assert got.memory is not None


def test_exactly_one_thing_is_sought() -> None:
    for fields in ({}, {"memory_id": uuid4(), "content": "a 0"}):
        with pytest.raises(ValidationError, match="either memory_id or content"):
            FindSimilar.model_validate({"user_id": "ada", **fields})
