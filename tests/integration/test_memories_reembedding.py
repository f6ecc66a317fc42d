"""Changing the embedder: the old index serves, nothing is embedded twice, nothing is mixed."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.exc import IntegrityError

from bespoke_schemas.memories import Compact, Delete, Restore, Search, SetPolicy, Update
from bespoke_workers.errors import Transient
from bespoke_workers.memories.archived_vectors import PAGE
from bespoke_workers.memories.embedders import Unloadable
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import from_bytes, to_bytes
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
from tests.integration.memory_workers import (
    ANGLES,
    angles,
    assert_sound,
    contents,
    in_loop,
    installed,
    query,
    remember,
    worker,
)
from tests.integration.optimizing import RecordingOutbox

APART = Policy(dedup_guard=False, similarity_threshold=0.999999)


class Wide:
    """Embeds as ``angles`` does, in 40 dimensions, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls_left = 1_000
        self.embedder = Embedder("wide", 40, 0.95, self)

    def __call__(self, texts: list[str]) -> NDArray[np.float64]:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise ConnectionError
        self.texts += texts
        return np.hstack([np.zeros((len(texts), 8)), angles(texts)])

    def installed(self, name: str) -> Embedder:
        return self.embedder if name == "wide" else installed(name)


@pytest.fixture
def wide() -> Wide:
    return Wide()


@pytest.fixture
def outbox() -> RecordingOutbox:
    return RecordingOutbox()


@asynccontextmanager
async def old(url: str, wide: Wide, policy: Policy = APART) -> AsyncIterator[Memories]:
    """Start a worker of the setting before the change."""
    async with worker(
        url, policy, ANGLES, outbox=RecordingOutbox(), load_older=wide.installed, age_s=100
    ) as memories:
        yield memories


@asynccontextmanager
async def new(
    url: str, wide: Wide, outbox: RecordingOutbox, policy: Policy = APART
) -> AsyncIterator[Memories]:
    """Start a worker of the setting after the change."""
    async with worker(
        url, policy, wide.embedder, outbox=outbox, load_older=wide.installed
    ) as memories:
        yield memories


async def fill(memories: Memories, count: int, user_id: str = "ada") -> None:
    for number in range(count):
        await remember(memories, user_id, text(number))


def text(number: int) -> str:
    return f"{chr(ord('a') + number % 16)} {10 * (number // 16)}"


async def nearest(memories: Memories, content: str, user_id: str = "ada") -> str:
    search = Search(user_id=user_id, query=content, limit=1)
    (match,) = (await memories.search(search)).matches
    assert match.similarity == 1.0
    return match.memory.content


async def embedder_of(url: str, user_id: str = "ada") -> tuple[str, int]:
    sql = "SELECT embedder, dim FROM memory_space WHERE user_id = :user"
    ((name, dim),) = await query(url, sql, user=user_id)
    return name, dim


async def assert_all_of(url: str, embedder: Embedder, user_id: str = "ada") -> None:
    """Check that every vector is that of its content, and that nothing is left beside."""
    assert await embedder_of(url, user_id) == embedder.kind
    rows = await query(url, "SELECT * FROM memory WHERE user_id = :user", user=user_id)
    for row in rows:
        expected = to_bytes(embedder.embed([row.content])[0])
        assert np.array_equal(
            from_bytes(row.embedding, embedder.dim), from_bytes(expected, embedder.dim)
        )
    assert await query(url, "SELECT 1 FROM memory_reembedding") == []
    assert await query(url, "SELECT 1 FROM reembedding") == []


async def no_pause(url: str) -> None:
    """Let the time pass for which a space is left alone after a failure or a death."""
    await query(url, "UPDATE reembedding SET lease_until = now()")


@in_loop
async def test_the_old_index_serves_until_the_new_one_is_complete(
    database_url: str, wide: Wide, outbox: RecordingOutbox
) -> None:
    async with old(database_url, wide) as before, new(database_url, wide, outbox) as after:
        await fill(before, 20)
        assert await nearest(after, text(3)) == text(3)
        await remember(after, "ada", "p 77")
        assert await embedder_of(database_url) == ANGLES.kind
        assert outbox.calls_for_reembedding == 1
        await after.reembed()
        await assert_all_of(database_url, wide.embedder)
        for memories in (after, before):  # one knows the old index, one what it was
            assert await nearest(memories, text(3)) == text(3)
            await remember(memories, "ada", f"o {memories is before:d}7")
        await remember(after, "eve", "a 0")
        await assert_all_of(database_url, wide.embedder)
        await assert_sound(database_url, "ada", APART, wide.embedder)


@in_loop
async def test_what_became_alike_is_merged_by_one_compaction(
    database_url: str, wide: Wide, outbox: RecordingOutbox
) -> None:
    policy = Policy(dedup_guard=False)
    strict = replace(ANGLES, threshold=0.9999)
    async with worker(database_url, policy, strict) as before:
        for angle in (0, 5, 90):
            await remember(before, "ada", f"a {angle}")
    async with new(database_url, wide, outbox, policy) as after:
        await after.reembed()
        (compact,) = outbox.enqueued
        assert isinstance(compact, Compact)
        assert (await after.compact(compact)).total_compacted == 1
        await assert_sound(database_url, "ada", policy, wide.embedder)
        outbox.enqueued.clear()
        await after.reembed()
        assert outbox.enqueued == []


@in_loop
async def test_a_failed_page_is_all_that_is_embedded_again(
    database_url: str, wide: Wide, outbox: RecordingOutbox
) -> None:
    count = 2 * PAGE + 10
    async with old(database_url, wide) as before:
        await fill(before, count)
    wide.calls_left = 1
    async with new(database_url, wide, outbox) as after:
        ((began,),) = await query(database_url, "SELECT now()")
        await after.reembed()
        assert len(wide.texts) == PAGE
        paused = (
            "UPDATE reembedding SET lease_until = lease_until + interval '1 h' "
            "RETURNING lease_until - interval '1 h' - :began"
        )
        assert await query(database_url, paused, began=began) >= [(timedelta(seconds=5),)]
        await after.reembed()  # leaves it alone until then
        assert wide.calls_left == -1
        await no_pause(database_url)
        await after.reembed()
        assert await nearest(after, text(3)) == text(3)  # with the old one
    wide.calls_left = 1_000
    async with new(database_url, wide, outbox) as restarted:
        await no_pause(database_url)
        await restarted.reembed()
    assert len(wide.texts) == len(set(wide.texts)) == count
    await assert_all_of(database_url, wide.embedder)


@pytest.mark.parametrize("seed", range(3))
@in_loop
async def test_stores_updates_deletes_and_restores_go_on_meanwhile(
    database_url: str, wide: Wide, outbox: RecordingOutbox, seed: int
) -> None:
    async with (
        old(database_url, wide) as before,
        new(database_url, wide, outbox) as after,
        new(database_url, wide, outbox) as another,
    ):
        await fill(before, PAGE + 10)

        async def work(memories: Memories, number: int) -> None:
            drawn = random.Random(10 * seed + number)  # chooses texts, guards nothing
            mine: list[UUID] = []
            for _ in range(15):
                match drawn.randrange(4) if mine else 0:
                    case 0:
                        said = f"{drawn.choice('abcdef')} {drawn.random() * 360:.3f}"
                        mine.append((await remember(memories, "ada", said)).memory_id)
                    case 1:
                        said = f"{drawn.choice('ghijkl')} {drawn.random() * 360:.3f}"
                        change = Update(user_id="ada", memory_id=drawn.choice(mine), content=said)
                        await memories.update(change)
                    case 2:
                        await memories.delete(Delete(user_id="ada", memory_id=drawn.choice(mine)))
                    case 3:
                        await memories.restore(Restore(user_id="ada", memory_id=drawn.choice(mine)))

        async def move() -> None:
            while await embedder_of(database_url) != wide.embedder.kind:
                await asyncio.gather(after.reembed(), another.reembed())

        await asyncio.gather(move(), *map(work, (before, after, another), range(3)))
        await after.reembed()
        await assert_all_of(database_url, wide.embedder)
        there = await contents(database_url, "ada")
        for memories in (before, after, another):
            search = Search(user_id="ada", query="a 0", threshold=-1, limit=200)
            found = {match.memory.content for match in (await memories.search(search)).matches}
            assert found == there
        await assert_sound(database_url, "ada", APART, wide.embedder)


@in_loop
async def test_what_was_archived_comes_back_embedded_by_the_embedder_of_the_space(
    database_url: str, wide: Wide, outbox: RecordingOutbox
) -> None:
    async with old(database_url, wide) as before:
        gone = await remember(before, "ada", "a 0")
        await remember(before, "ada", "b 0")
        await before.delete(Delete(user_id="ada", memory_id=gone.memory_id))
    async with new(database_url, wide, outbox) as after:
        await after.reembed()
        restore = Restore(user_id="ada", memory_id=gone.memory_id)
        assert (await after.restore(restore)).restored_count == 1
        assert await nearest(after, "a 0") == "a 0"
        await assert_all_of(database_url, wide.embedder)
        await after.delete(Delete(user_id="ada", memory_id=gone.memory_id))
        wide.calls_left = 0  # the archive has no embeddings, so a restoration waits
        again = Restore(user_id="ada", memory_id=gone.memory_id)
        with pytest.raises(Transient):
            await after.restore(again)
        wide.calls_left = 1
        assert (await after.restore(again)).restored_count == 1


@in_loop
async def test_without_the_old_embedder_jobs_wait_and_that_space_comes_first(
    database_url: str, wide: Wide, outbox: RecordingOutbox
) -> None:
    lost = replace(ANGLES, name="lost")
    async with worker(database_url, APART, lost) as before:
        for user_id in ("ada", "bob", "eve"):
            await remember(before, user_id, "a 0")
    async with new(database_url, wide, outbox) as after:
        with pytest.raises(Unloadable, match="'lost'"):
            await remember(after, "eve", "a 90")
        assert outbox.calls_for_reembedding == 1
        wide.calls_left, asked = 1, len(wide.texts)
        await after.reembed()
        assert len(wide.texts) == asked + 1
        assert await embedder_of(database_url, "eve") == wide.embedder.kind
        wide.calls_left = 1_000
        await remember(after, "eve", "a 90")
        assert await nearest(after, "a 0", "eve") == "a 0"


@in_loop
async def test_a_space_without_memories_changes_too(
    database_url: str, wide: Wide, outbox: RecordingOutbox
) -> None:
    async with old(database_url, wide) as before:
        await before.set_policy(SetPolicy(user_id="ada", max_memories=7))
    async with new(database_url, wide, outbox) as after:
        await after.reembed()
        await assert_all_of(database_url, wide.embedder)
        assert wide.texts == []
        assert (await remember(after, "ada", "a 0")).count == 1


@in_loop
async def test_of_two_settings_at_a_time_the_one_started_last_holds(
    database_url: str, wide: Wide, outbox: RecordingOutbox
) -> None:
    async with old(database_url, wide) as before, new(database_url, wide, outbox) as after:
        await remember(before, "ada", "a 0")
        await before.reembed()
        await after.reembed()
        asked = len(wide.texts)
        for _ in range(3):
            await before.reembed()
            await remember(before, "bob", "a 0")  # in a space of the older setting
            await after.reembed()
        assert await embedder_of(database_url) == wide.embedder.kind
        assert await embedder_of(database_url, "bob") == wide.embedder.kind
        assert len(wide.texts) <= asked + 6
    async with worker(
        database_url, APART, ANGLES, outbox=outbox, load_older=wide.installed
    ) as back:
        await back.reembed()
        assert await embedder_of(database_url) == ANGLES.kind


@in_loop
async def test_a_setting_that_nobody_has_any_more_gives_way(
    database_url: str, wide: Wide, outbox: RecordingOutbox
) -> None:
    async with old(database_url, wide) as before, new(database_url, wide, outbox) as after:
        await remember(after, "ada", "a 0")
        await after.reembed()
        await before.reembed()
        assert await embedder_of(database_url) == wide.embedder.kind
        await query(database_url, "UPDATE embedder_target SET seen_at = now() - interval '2 h'")
        await before.reembed()
        assert await embedder_of(database_url) == ANGLES.kind
        await after.reembed()  # was started before that
        assert await embedder_of(database_url) == ANGLES.kind


@pytest.mark.parametrize("length", [0, 62, 63, 65, 66, 80], ids=str)
@in_loop
async def test_no_statement_can_write_a_vector_of_another_length(
    database_url: str, length: int
) -> None:
    async with worker(database_url, APART, ANGLES) as memories:
        await remember(memories, "ada", "a 0")
    insert = """
        INSERT INTO memory (id, user_id, content, kind, facts, embedding, version, created_at,
            updated_at)
        SELECT gen_random_uuid(), 'ada', '', '', '', :vector, 1, now(), now()
    """
    for sql in (insert, "UPDATE memory SET embedding = :vector WHERE user_id = 'ada'"):
        with pytest.raises(IntegrityError):
            await query(database_url, sql, vector=b"x" * length)
    with pytest.raises(IntegrityError):
        await query(database_url, "UPDATE memory_space SET dim = 40")
    await assert_sound(database_url, "ada", APART, ANGLES)
