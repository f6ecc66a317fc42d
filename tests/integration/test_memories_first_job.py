"""Jobs of a user who has no memories, while another worker stores the first of them.

What is not there cannot be locked: such a job answers as before the first store, or starts again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from bespoke_schemas import Payload
from bespoke_schemas.memories import Clear, Compact, NewMemory, Store, StoreMany, Update
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import locking, removal, updating
from bespoke_workers.memories.store import Memories
from tests.integration.memory_workers import (
    START,
    assert_sound,
    contents,
    in_loop,
    opened,
    query,
    remember,
    worker,
)
from tests.integration.test_memories_compaction import word
from tests.integration.test_once import until_a_session_waits

LIMIT = 5


@asynccontextmanager
async def job_held(database: Database, job_id: UUID) -> AsyncIterator[None]:
    """Have whoever begins this job wait; in the end it is as if nobody had begun it."""
    begin = text("INSERT INTO job (id, task, state) VALUES (:id, 'held', 'done')")
    async with database.engine.connect() as connection:
        await connection.execute(begin, {"id": job_id})
        yield
        await connection.rollback()


@in_loop
async def test_many_wait_for_whoever_holds_the_space_by_then(database_url: str) -> None:
    many = StoreMany(
        user_id="ada", memories=tuple(NewMemory(content=word(one)) for one in range(LIMIT * 2))
    )
    limited = text(
        "UPDATE memory_space SET policy = jsonb_build_object('max_memories', CAST(:limit AS int))"
    )
    async with worker(database_url) as memories, opened(database_url) as database:
        async with database.engine.connect() as holding:
            async with job_held(database, many.id):
                storing = asyncio.create_task(memories.store_many(many))
                await until_a_session_waits(database)
                async with worker(database_url) as other:
                    await remember(other, "ada", word(LIMIT * 2))
                await holding.execute(limited, {"limit": LIMIT})
            await until_a_session_waits(database)
            await holding.commit()
        assert (await storing).count == LIMIT
    assert len(await contents(database_url, "ada")) == LIMIT


@in_loop
async def test_a_compaction_from_before_the_first_store_removes_nothing(database_url: str) -> None:
    compact = Compact(user_id="ada", force=True)
    years_later = START + timedelta(days=3_650)
    async with (
        worker(database_url, clock=lambda: years_later) as memories,
        worker(database_url) as other,
        opened(database_url) as database,
    ):
        async with job_held(database, compact.id):
            compacting = asyncio.create_task(memories.compact(compact))
            await until_a_session_waits(database)
            await remember(other, "ada", "Prefers dark mode")
        assert (await compacting).total_compacted == 0
        assert await memories.compact(compact) == await compacting
    await assert_sound(database_url, "ada")
    assert await contents(database_url, "ada") == {"Prefers dark mode"}


FIRST = Store(user_id="ada", content="Prefers dark mode")


@pytest.mark.parametrize(
    ("of", "job", "answer"),
    [
        (removal, Clear(user_id="ada"), {"removed_count": 0}),
        (
            updating,
            Update(user_id="ada", memory_id=FIRST.id, content="Prefers light mode"),
            {"memory": None, "merged_with": None},
        ),
    ],
    ids=["clear", "update"],
)
@in_loop
async def test_what_appears_once_nothing_was_locked_is_left_alone(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    of: ModuleType,
    job: Payload[Any],
    answer: dict[str, Any],
) -> None:
    async with worker(database_url) as memories, worker(database_url) as other:

        async def lock_too_early(connection: Any, user_id: str) -> bool:
            is_held = await locking.lock(connection, user_id)
            await other.store(FIRST)
            return is_held

        monkeypatch.setattr(of, "lock", lock_too_early)
        assert (await done(memories, job)).model_dump() == answer
    await assert_sound(database_url, "ada")
    assert await contents(database_url, "ada") == {FIRST.content}


def done(memories: Memories, job: Payload[Any]) -> Awaitable[Any]:
    if isinstance(job, Clear):
        return memories.clear(job)
    assert isinstance(job, Update)
    return memories.update(job)


@in_loop
async def test_the_first_stores_of_many_at_once_lock_the_space(database_url: str) -> None:
    async with worker(database_url) as one, worker(database_url) as other:
        for number in range(20):
            user_id = f"user-{number}"
            await asyncio.gather(
                *(
                    each.store_many(
                        StoreMany(user_id=user_id, memories=(NewMemory(content="Likes tea"),))
                    )
                    for each in (one, other)
                )
            )
    rows = await query(database_url, "SELECT count FROM memory_space")
    assert [row.count for row in rows] == [1] * 20
