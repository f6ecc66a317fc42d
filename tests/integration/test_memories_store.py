"""Storing memories: once, merged by the rules, isolated, all or nothing."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from asyncpg import CheckViolationError
from pydantic import ValidationError

from bespoke_schemas.ids import uuid7
from bespoke_schemas.memories import Count, List, Search, Store
from bespoke_workers.database.once import once
from bespoke_workers.errors import Refused, Transient
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.policy import Policy
from bespoke_workers.observe import events
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    Clock,
    angles,
    assert_sound,
    contents,
    in_loop,
    opened,
    query,
    remember,
    worker,
    workers,
)


@in_loop
async def test_a_job_delivered_again_takes_effect_once(database_url: str) -> None:
    payload = Store(user_id="ada", content="Prefers dark mode", tags=("ui",), metadata={"n": [1]})
    async with worker(database_url) as memories, worker(database_url) as elsewhere:
        first = await memories.store(payload)
        assert first.outcome == "inserted"
        assert first.memory_id == payload.id
        assert await memories.store(payload) == first
        await remember(memories, "ada", "Has a cat")
        assert await elsewhere.store(payload) == first
        assert (await memories.count(Count(user_id="ada"))).count == 2


@in_loop
async def test_a_job_done_by_several_workers_at_once_takes_effect_once(database_url: str) -> None:
    async with workers(database_url, 4) as several:
        for number in range(10):
            payload = Store(user_id="ada", content=f"fact of the letter {chr(97 + number)}")
            stored = await asyncio.gather(*(each.store(payload) for each in several * 2))
            assert len(set(stored)) == 1
        await assert_sound(database_url, "ada")
        assert (await several[0].count(Count(user_id="ada"))).count == 10


@in_loop
async def test_a_merge_delivered_again_is_told_again(database_url: str) -> None:
    async with worker(database_url) as memories:
        await remember(memories, "ada", "Prefers dark mode")
        payload = Store(user_id="ada", content="prefers  DARK mode")
        first = await memories.store(payload)
        assert first.outcome == "merged"
        assert await memories.store(payload) == first
        await assert_sound(database_url, "ada")


@in_loop
async def test_an_id_of_another_job_is_refused(database_url: str) -> None:
    payload = Store(user_id="ada", content="Prefers dark mode")
    async with worker(database_url) as memories, opened(database_url) as database:
        await memories.store(payload)
        with pytest.raises(Refused, match=f"{payload.id} belongs to another job"):
            await memories.store(payload.model_copy(update={"user_id": "bob"}))
        listing = List(user_id="ada")
        await once(database, listing, lambda session: memories.list(listing))
        with pytest.raises(Refused, match="belongs to another job"):
            await memories.store(Store(id=listing.id, user_id="ada", content="x"))
    assert await contents(database_url, "bob") == set()
    assert await contents(database_url, "ada") == {"Prefers dark mode"}


@in_loop
async def test_users_do_not_meet(database_url: str) -> None:
    async with worker(database_url) as memories:
        for user in ("ada", "bob"):
            stored = await remember(memories, user, "Prefers dark mode", user)
            assert (stored.outcome, stored.count) == ("inserted", 1)
        found = await memories.search(Search(user_id="bob", query="dark mode"))
        assert [match.memory.tags for match in found.matches] == [("bob",)]
        listed = await memories.list(List(user_id="ada"))
        assert [(one.tags, one.access_count) for one in listed.memories] == [(("ada",), 0)]
        nobody = await memories.search(Search(user_id="eve", query="dark mode"))
        assert nobody.matches == ()
        assert (await memories.count(Count(user_id="eve"))).count == 0
    assert await query(database_url, "SELECT user_id FROM memory_space WHERE user_id = 'eve'") == []


@in_loop
async def test_of_two_without_accesses_the_newer_is_kept(database_url: str) -> None:
    async with worker(database_url) as memories:
        old = await remember(memories, "ada", "Prefers dark mode", "ui", "old")
        new = await remember(memories, "ada", "prefers dark  mode", "new", "ui", "new")
        assert (new.outcome, new.count, new.similarity) == ("merged", 1, 1.0)
        assert new.memory_id != old.memory_id
        assert new.merged_with == old.memory_id
        (kept,) = (await memories.list(List(user_id="ada"))).memories
        assert (kept.id, kept.content) == (new.memory_id, "prefers dark  mode")
        assert kept.tags == ("new", "ui", "old")


@in_loop
async def test_the_more_accessed_of_two_is_kept(database_url: str) -> None:
    async with worker(database_url) as memories:
        old = await remember(memories, "ada", "Prefers dark mode", "ui")
        for _ in range(3):
            await memories.search(Search(user_id="ada", query="Prefers dark mode"))
        payload = Store(user_id="ada", content="prefers dark mode", tags=("new",))
        new = await memories.store(payload)
        assert (new.outcome, new.count) == ("merged", 1)
        assert (new.memory_id, new.merged_with) == (old.memory_id, payload.id)
        (kept,) = (await memories.list(List(user_id="ada"))).memories
        assert (kept.content, kept.access_count) == ("Prefers dark mode", 3)
        assert kept.tags == ("ui", "new")
    (gone,) = await query(database_url, "SELECT * FROM memory_archive")
    assert (gone.memory_id, gone.kept_id) == (payload.id, old.memory_id)
    assert gone.content == "prefers dark mode"


@in_loop
async def test_a_new_memory_takes_the_place_of_all_that_it_duplicates(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        left, right = [await remember(memories, "ada", f"a {angle}") for angle in (0, 30)]
        assert right.outcome == "inserted"
        middle = await remember(memories, "ada", "a 14")
        assert (middle.outcome, middle.count) == ("merged", 1)
        assert middle.merged_with == left.memory_id  # 14 degrees off, the other one 16
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)
    archived = await query(database_url, "SELECT memory_id, kept_id FROM memory_archive")
    assert {row.memory_id for row in archived} == {left.memory_id, right.memory_id}
    assert {row.kept_id for row in archived} == {middle.memory_id}


@in_loop
async def test_what_was_apart_stays_apart_when_the_new_one_goes(database_url: str) -> None:
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        for angle in (0, 30):
            await remember(memories, "ada", f"a {angle}")
        await memories.search(Search(user_id="ada", query="a 30", limit=1))
        middle = await remember(memories, "ada", "a 14")
        assert (middle.outcome, middle.count) == ("merged", 2)
        await assert_sound(database_url, "ada", ANGLES_POLICY, ANGLES)
    assert await contents(database_url, "ada") == {"a 0", "a 30"}


@in_loop
async def test_a_memory_too_old_to_stay_is_not_kept_for_its_accesses(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, clock=clock) as memories:
        await remember(memories, "ada", "Prefers dark mode")
        await memories.search(Search(user_id="ada", query="dark mode"))
        clock.now = clock.now.replace(year=2027)
        stored = await remember(memories, "ada", "prefers dark mode")
        assert (stored.outcome, stored.count) == ("merged", 1)
        (kept,) = (await memories.list(List(user_id="ada"))).memories
        assert (kept.content, kept.access_count) == ("prefers dark mode", 1)


@pytest.mark.parametrize(
    "pair",
    [("I get up at 6 am", "I get up at 7 am"), ("She eats meat", "She never eats meat")],
)
@in_loop
async def test_numbers_and_negations_keep_memories_apart(
    database_url: str, pair: tuple[str, str]
) -> None:
    alike = Embedder("alike", 2, 0.95, lambda texts: [[1.0, 0.0]] * len(texts))
    async with worker(database_url, embedder=alike) as memories:
        assert [(await remember(memories, "ada", one)).outcome for one in pair] == ["inserted"] * 2
        assert (await remember(memories, "ada", pair[0].upper())).outcome == "merged"
    async with worker(database_url, Policy(dedup_guard=False), alike) as memories:
        assert (await remember(memories, "bob", pair[0])).outcome == "inserted"
        assert (await remember(memories, "bob", pair[1])).outcome == "merged"


@in_loop
async def test_the_archive_has_all_of_a_memory(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, clock=clock) as memories:
        payload = Store(
            user_id="ada", content="Ünïcode “text”", kind="preference", tags=("a", "b"),
            metadata={"source": {"page": 3}},
        )  # fmt: skip
        await memories.store(payload)
        (before,) = await query(database_url, "SELECT * FROM memory")
        kept = await remember(memories, "ada", "ünïcode “text”")
    (row,) = await query(database_url, "SELECT * FROM memory_archive")
    assert (row.memory_id, row.user_id, row.reason) == (payload.id, "ada", "duplicate")
    assert (row.kept_id, row.similarity) == (kept.memory_id, 1.0)
    assert row.run_id == kept.memory_id
    assert row.removed_version == 2
    columns = dict(before._mapping)
    left_out = {"id", "version", "embedding", "dim"}  # a restoration gives it others
    assert {name: getattr(row, name) for name in columns.keys() - left_out} == {
        name: value for name, value in columns.items() if name not in left_out
    }
    assert (row.content, row.kind, row.tags) == (payload.content, "preference", ["a", "b"])
    assert (row.meta, row.access_count) == ({"source": {"page": 3}}, 0)


@in_loop
async def test_a_space_of_another_embedder_is_written_with_its_own(database_url: str) -> None:
    async with worker(database_url) as memories:
        await remember(memories, "ada", "a 10")
    wider = Embedder("lexical-1", 32, 0.95, angles)
    for number, other in enumerate((ANGLES, wider)):
        async with worker(database_url, embedder=other) as memories:
            assert (await remember(memories, "ada", "A 10")).outcome == "merged"
            assert (await remember(memories, "ada", f"a 1{number + 1}")).outcome == "inserted"
            search = Search(user_id="ada", query="a 10", limit=1)
            (match,) = (await memories.search(search)).matches
            assert (match.memory.content, match.similarity) == ("A 10", 1.0)
    await assert_sound(database_url, "ada")


@in_loop
async def test_without_the_embedder_of_a_space_jobs_wait_and_write_nothing(
    database_url: str,
) -> None:
    gone = replace(ANGLES, name="gone")
    async with worker(database_url, embedder=gone) as memories:
        await remember(memories, "ada", "a 10")
    shorter = Embedder("lexical-1", 32, 0.95, angles)
    async with worker(database_url, embedder=shorter) as memories:
        await remember(memories, "eve", "a 10")
    for user_id, reason in (("ada", "cannot import it"), ("eve", "it has 384 dimensions now")):
        async with worker(database_url) as memories:
            with pytest.raises(Transient, match=reason) as waiting:
                await remember(memories, user_id, "a 20")
            assert "(32 dimensions)" in str(waiting.value)
            assert "a 20" not in str(waiting.value)
            with pytest.raises(Transient):
                await memories.search(Search(user_id=user_id, query="a 20"))
        assert await contents(database_url, user_id) == {"a 10"}
    assert len(await query(database_url, "SELECT user_id FROM job")) == 2


@pytest.mark.parametrize(
    ("table", "column"),
    [("job", "result"), ("memory_space", "version"), ("memory_archive", "memory_id")],
)
@in_loop
async def test_a_failure_half_way_leaves_nothing(
    database_url: str, table: str, column: str
) -> None:
    async with worker(database_url, Policy(max_memories=4)) as memories:
        texts = [f"about the {word}" for word in ("sea", "moon", "garden", "train")]
        for content in texts:
            await remember(memories, "ada", content)
        before = await query(database_url, "SELECT * FROM memory_space")
        check = f"ALTER TABLE {table} ADD CONSTRAINT stop CHECK ({column} IS NULL) NOT VALID"
        await query(database_url, check)
        payload = Store(user_id="ada", content="about the violin")
        with pytest.raises(CheckViolationError, match=r"^CheckViolationError$"):
            await memories.store(payload)
        assert await contents(database_url, "ada") == set(texts)
        assert await query(database_url, "SELECT * FROM memory_space") == before
        assert await query(database_url, "SELECT user_id FROM memory_archive") == []
        assert len(await query(database_url, "SELECT user_id FROM job")) == 4
        await query(database_url, f"ALTER TABLE {table} DROP CONSTRAINT stop")
        stored = await memories.store(payload)
        assert (stored.outcome, stored.count) == ("inserted", 3)
        await assert_sound(database_url, "ada", Policy(max_memories=4))


@in_loop
async def test_each_store_is_told_as_an_event_without_contents(database_url: str) -> None:
    told: list[events.Event] = []
    end = events.subscribe("dspy.memory.compaction_check", told.append)
    async with worker(database_url) as memories:
        for content in ("Prefers dark mode", "prefers dark mode", "Has a cat"):
            await remember(memories, "ada", content)
    end()
    assert [event["removed_count"] for event in told] == [0, 0, 0]
    assert all(event["duration_ms"] >= 0 for event in told)
    assert all(event["user"] == events.hashed("ada") for event in told)


@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": "ada", "content": "NUL \x00 inside"},
        {"user_id": "ada", "content": "lone \ud800 surrogate"},
        {"user_id": "ada", "content": ""},
        {"user_id": "ada", "content": " \n"},
        {"user_id": "ada", "content": "x" * 40_000},
        {"user_id": "", "content": "x"},
        {"user_id": "a\x00", "content": "x"},
        {"user_id": "ada", "content": "x", "tags": ["\x00"]},
        {"user_id": "ada", "content": "x", "metadata": {"a": "\x00"}},
        {"user_id": "ada", "content": "x", "metadata": {"a": float("nan")}},
    ],
)
def test_what_cannot_be_stored_is_no_payload(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Store(id=uuid7(), **fields)
