"""Storing many memories at once comes to what storing one after the other comes to."""

import asyncio
import random
from datetime import timedelta

import pytest
from asyncpg import CheckViolationError
from pydantic import ValidationError

from bespoke_schemas.memories import (
    Count,
    List,
    NewMemory,
    Search,
    StoredMany,
    StoreMany,
)
from bespoke_schemas.memories.many import MANY_CHARACTERS, MANY_LIMIT
from bespoke_workers.errors import Refused
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe import events
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    Clock,
    age_from,
    assert_distinct,
    contents,
    in_loop,
    query,
    remember,
    worker,
    workers,
)
from tests.integration.test_memories_compaction import word

SMALL = Policy(max_memories=20)


async def remember_all(memories: Memories, *texts: str, user_id: str = "ada") -> StoredMany:
    together = tuple(NewMemory(content=one) for one in texts)
    return await memories.store_many(StoreMany(user_id=user_id, memories=together))


async def assert_consistent(
    url: str, policy: Policy = DEFAULT, *, check_archive: bool = True
) -> None:
    """Check the counters of every space against its rows, and that nothing is there twice."""
    for space in await query(url, "SELECT * FROM memory_space"):
        rows = await query(url, "SELECT * FROM memory WHERE user_id = :user", user=space.user_id)
        assert space.count == len(rows) <= policy.max_memories
        assert space.most_accessed == max(row.access_count for row in rows)
        assert space.oldest_created_at <= min(age_from(row) for row in rows)
        assert max(row.version for row in rows) <= space.version
    twice = "SELECT memory_id FROM memory_archive WHERE memory_id IN (SELECT id FROM memory)"
    assert not check_archive or await query(url, twice) == []


@in_loop
async def test_many_are_stored_in_their_order_with_all_that_was_given(database_url: str) -> None:
    payload = StoreMany(
        user_id="ada",
        memories=(
            NewMemory(content="Has a black cat", kind="pet", tags=("a", "b", "a")),
            NewMemory(content="Likes tea “grün”", metadata={"source": {"page": 3}}),
            NewMemory(content="Lives in Turin", tags=('quo"te', "{x}", "a\\b")),
        ),
    )
    async with worker(database_url) as memories:
        done = await memories.store_many(payload)
        assert [one.outcome for one in done.stored] == ["inserted"] * 3
        assert (done.count, done.compaction.total_compacted) == (3, 0)
        listed = (await memories.list(List(user_id="ada"))).memories
        assert [one.id for one in listed] == [one.memory_id for one in done.stored][::-1]
        assert [one.tags for one in listed] == [('quo"te', "{x}", "a\\b"), (), ("a", "b")]
        assert [one.kind for one in listed] == ["fact", "fact", "pet"]
        assert [one.metadata for one in listed] == [{}, {"source": {"page": 3}}, {}]
        found = await memories.search(Search(user_id="ada", query="a black cat", limit=1))
        assert found.matches[0].memory.id == done.stored[0].memory_id
    await assert_consistent(database_url)


@in_loop
async def test_a_job_of_many_takes_effect_once_wherever_it_is_delivered(database_url: str) -> None:
    payload = StoreMany(
        user_id="ada", memories=tuple(NewMemory(content=word(one)) for one in range(30))
    )
    async with workers(database_url, 3) as several:
        results = await asyncio.gather(*(each.store_many(payload) for each in several * 2))
        assert all(one == results[0] for one in results)
        assert (await several[0].count(Count(user_id="ada"))).count == 30
        with pytest.raises(Refused, match="belongs to another job"):
            await several[0].store_many(payload.model_copy(update={"user_id": "bob"}))
    await assert_consistent(database_url)


@in_loop
async def test_duplicates_among_them_and_of_what_is_there_are_merged(database_url: str) -> None:
    async with worker(database_url) as memories:
        old = await remember(memories, "ada", "Prefers dark mode", "ui")
        done = await remember_all(
            memories, "prefers DARK mode", "Has a cat", "has a  cat", "HAS a cat", "Runs daily"
        )
        dark, _, _, cat, runs = done.stored
        assert [one.outcome for one in done.stored] == ["merged"] * 4 + ["inserted"]
        assert (done.count, dark.merged_with, dark.similarity) == (3, old.memory_id, 1.0)
        assert {one.memory_id for one in done.stored} == {
            dark.memory_id,
            cat.memory_id,
            runs.memory_id,
        }
    archived = await query(database_url, "SELECT * FROM memory_archive")
    assert {(row.reason, row.run_id) for row in archived} == {
        ("duplicate", row.run_id) for row in archived
    }
    assert {row.content: row.kept_id for row in archived} == {
        "Prefers dark mode": dark.memory_id,
        "Has a cat": cat.memory_id,
        "has a  cat": cat.memory_id,
    }
    assert all(row.similarity == 1.0 for row in archived)
    await assert_consistent(database_url)


@in_loop
async def test_the_more_accessed_one_stays_and_takes_over_tags(database_url: str) -> None:
    async with worker(database_url) as memories:
        old = await remember(memories, "ada", "Prefers dark mode", "ui")
        await memories.search(Search(user_id="ada", query="Prefers dark mode"))
        done = await memories.store_many(
            StoreMany(
                user_id="ada",
                memories=(
                    NewMemory(content="prefers dark mode", tags=("x",)),
                    NewMemory(content="prefers dark  mode", tags=("y",)),
                ),
            )
        )
        assert [(one.outcome, one.memory_id) for one in done.stored] == [
            ("merged", old.memory_id)
        ] * 2
        (kept,) = (await memories.list(List(user_id="ada"))).memories
        assert (kept.tags, kept.access_count) == (("ui", "x", "y"), 1)
    await assert_consistent(database_url)


@in_loop
async def test_numbers_and_negations_keep_them_apart(database_url: str) -> None:
    async with worker(database_url, Policy(similarity_threshold=0.1)) as memories:
        done = await remember_all(
            memories, "Gets up at 6 am", "Gets up at 7 am", "Never gets up at 6 am"
        )
        assert done.count == 3


@in_loop
async def test_many_come_to_what_one_after_the_other_comes_to(database_url: str) -> None:
    chance = random.Random(5)
    for number in range(4):
        texts = [f"{chance.choice('abc')} {chance.randrange(0, 90)}" for _ in range(14)]
        async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
            one, many = f"one{number}", f"many{number}"
            for user in (one, many):
                for content in texts[:5]:
                    await remember(memories, user, content)
                await memories.search(Search(user_id=user, query=texts[1], limit=2))
            for content in texts[5:]:
                await remember(memories, one, content)
            await remember_all(memories, *texts[5:], user_id=many)
            assert await contents(database_url, many) == await contents(database_url, one)
        rows = await query(database_url, "SELECT * FROM memory WHERE user_id = :user", user=many)
        assert_distinct(rows, ANGLES_POLICY, ANGLES)
    spaces = await query(
        database_url,
        "SELECT stored_total, count, most_accessed FROM memory_space "
        "ORDER BY substring(user_id from '.$'), user_id",
    )
    assert spaces[::2] == spaces[1::2]
    await assert_consistent(database_url)


@in_loop
async def test_what_was_just_stored_stays_and_what_was_there_goes(database_url: str) -> None:
    async with worker(database_url, SMALL) as memories:
        await remember_all(memories, *map(word, range(18)))
        done = await remember_all(memories, *map(word, range(18, 36)))
        assert done.count == 18
        assert {one.outcome for one in done.stored} == {"inserted"}
        report = done.compaction.size_compaction
        assert report is not None
        assert (report.before_count, report.removed_count, report.after_count) == (36, 18, 18)
        assert await contents(database_url, "ada") == {word(one) for one in range(18, 36)}
    await assert_consistent(database_url, SMALL)


@in_loop
async def test_of_more_than_may_be_there_the_first_go(database_url: str) -> None:
    async with worker(database_url, SMALL) as memories:
        await remember(memories, "ada", word(99))
        done = await remember_all(memories, *map(word, range(30)))
        assert done.count == 20
        assert [one.outcome for one in done.stored] == ["archived"] * 10 + ["inserted"] * 20
        assert await contents(database_url, "ada") == {word(one) for one in range(10, 30)}
    (run,) = await query(database_url, "SELECT report FROM compaction_run")
    assert run.report["total_compacted"] == 11
    await assert_consistent(database_url, SMALL)


@in_loop
async def test_relevance_spares_what_was_just_stored(database_url: str) -> None:
    async with worker(database_url) as memories:
        await remember_all(memories, *map(word, range(60)))
        await memories.search(Search(user_id="ada", query=word(1), limit=60, threshold=-1))
        done = await remember_all(memories, *map(word, range(60, 100)))
        report = done.compaction.relevance_pruning
        assert report is not None
        assert report.removed_count == 20
        left = await contents(database_url, "ada")
        assert {word(one) for one in range(60, 100)} <= left
    await assert_consistent(database_url)


@in_loop
async def test_age_counts_as_in_a_store(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, clock=clock) as memories:
        await remember_all(memories, *map(word, range(3)))
        clock.now += timedelta(days=91)
        done = await remember_all(memories, word(7), word(0).upper())
        assert done.compaction.age_compaction is not None
        assert await contents(database_url, "ada") == {word(7), word(0).upper()}
    await assert_consistent(database_url)


@in_loop
async def test_others_see_what_was_stored_at_once(database_url: str) -> None:
    async with workers(database_url, 2) as (one, other):
        for number in range(0, 60, 20):
            await remember_all(one, *map(word, range(number, number + 20)))
            stored = await remember(other, "ada", word(number + 5).upper())
            assert stored.outcome == "merged"
            again = await remember_all(other, *(word(n) for n in range(number + 6, number + 9)))
            assert {each.outcome for each in again.stored} == {"merged"}
        assert (await one.count(Count(user_id="ada"))).count == 60
        found = await one.search(Search(user_id="ada", query=word(7), limit=1))
        assert found.matches[0].similarity == 1.0
    await assert_consistent(database_url)


@in_loop
async def test_stores_of_many_at_once_equal_some_order(database_url: str) -> None:
    async with workers(database_url, 4) as several:
        await asyncio.gather(
            *(
                remember_all(each, *map(word, range(place, place + 12)), user_id=user)
                for place, each in enumerate(several)
                for user in ("ada", "bob", "new")
            )
        )
        for user in ("ada", "bob", "new"):
            assert (await several[0].count(Count(user_id=user))).count == 15
    await assert_consistent(database_url)


@pytest.mark.parametrize(
    ("table", "column"), [("job", "result"), ("memory_space", "count"), ("memory_archive", "id")]
)
@in_loop
async def test_a_failure_half_way_leaves_nothing(
    database_url: str, table: str, column: str
) -> None:
    payload = StoreMany(
        user_id="ada", memories=tuple(NewMemory(content=word(one)) for one in (0, 1, 1, 2))
    )
    async with worker(database_url) as memories:
        check = f"{column} IS NULL" if column != "count" else "count = 0"
        await query(database_url, f"ALTER TABLE {table} ADD CONSTRAINT stop CHECK ({check})")
        with pytest.raises(CheckViolationError, match=r"^CheckViolationError$"):
            await memories.store_many(payload)
        for name in ("memory", "memory_archive", "job", "memory_space"):
            assert await query(database_url, f"SELECT 1 FROM {name}") == []
        await query(database_url, f"ALTER TABLE {table} DROP CONSTRAINT stop")
        assert (await memories.store_many(payload)).count == 3
    await assert_consistent(database_url)


@in_loop
async def test_a_space_of_another_embedder_is_written_with_its_own(database_url: str) -> None:
    async with worker(database_url) as memories:
        await remember(memories, "ada", "a 10")
    async with worker(database_url, embedder=ANGLES) as memories:
        await remember_all(memories, "a 11", "A 10")
    assert await contents(database_url, "ada") == {"a 11", "A 10"}


@in_loop
async def test_one_compaction_is_told(database_url: str) -> None:
    told: list[events.Event] = []
    end = events.subscribe("dspy.memory.compaction_check", told.append)
    async with worker(database_url, SMALL) as memories:
        await remember_all(memories, *map(word, range(30)))
    end()
    assert [event["removed_count"] for event in told] == [10]


def test_too_much_for_one_message_is_no_payload() -> None:
    long = NewMemory(content="x" * 32_000, metadata={"a": "y" * 20_000})
    with pytest.raises(ValidationError, match=f"at most {MANY_CHARACTERS} in one payload"):
        StoreMany(user_id="ada", memories=(long,) * 100)
    with pytest.raises(ValidationError):
        StoreMany(user_id="ada", memories=(NewMemory(content="x"),) * (MANY_LIMIT + 1))
    with pytest.raises(ValidationError):
        StoreMany(user_id="ada", memories=())
    assert "x" * 9 not in repr((long, StoreMany(user_id="ada", memories=(long,))))
