"""What was enqueued for a user before an erasure has no effect after it; later jobs have theirs."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from bespoke_schemas import Payload, uuid7
from bespoke_schemas.memories import Clear, Compact, Join, SetPolicy, Store
from bespoke_workers.database import records
from bespoke_workers.database.retention import Retention
from bespoke_workers.errors import Refused, Transient
from bespoke_workers.memories.store import Memories
from bespoke_workers.settings import Settings
from tests.integration.memory_workers import in_loop, opened, query, worker
from tests.integration.test_once import until_a_session_waits
from tests.nodes.waiting import SECONDS

NOW = datetime.now(UTC)


def made(at: datetime) -> UUID:
    """Return a UUIDv7 of another moment."""
    now = uuid7()
    return UUID(int=int(at.timestamp() * 1000) << 80 | now.int & ((1 << 80) - 1))


async def erased(url: str, user_id: str, *, state: str = "done", floor: int = 0) -> None:
    """Put up the fence as an erasure does, now."""
    async with opened(url) as database, database.transaction() as session:
        await (await session.connection()).execute(
            text(
                "INSERT INTO erasure (subject, job_id, state, before, version_floor, ended_at) "
                "VALUES (erasure_subject(:user_id), gen_random_uuid(), :state, :now, :floor, :now)"
            ),
            {"user_id": user_id, "state": state, "floor": floor, "now": NOW},
        )


BEFORE, AFTER = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)


def payloads(job_id: UUID) -> list[Payload[Any]]:
    return [
        Store(id=job_id, user_id="ada", content="Has a cat"),
        SetPolicy(id=job_id, user_id="ada", max_memories=5),
        Clear(id=job_id, user_id="ada"),
        Join(id=job_id, user_id="ada", space="home"),
        Compact(id=job_id, user_id="ada", force=True),
    ]


@pytest.mark.parametrize("which", range(5))
@in_loop
async def test_a_job_from_before_is_refused_and_leaves_nothing(
    database_url: str, which: int
) -> None:
    await erased(database_url, "ada")
    payload = payloads(made(BEFORE))[which]

    async with worker(database_url) as memories:
        with pytest.raises(Refused, match="erased"):
            await do(memories, payload)

    for table in ("job", "memory", "memory_space", "space_member"):
        assert await query(database_url, f"SELECT * FROM {table}") == []


@pytest.mark.parametrize("which", range(5))
@in_loop
async def test_a_job_from_after_has_its_effect(database_url: str, which: int) -> None:
    await erased(database_url, "ada")

    async with worker(database_url) as memories:
        await do(memories, payloads(made(AFTER))[which])

    assert len(await query(database_url, "SELECT * FROM job")) == 1


@in_loop
async def test_while_it_stops_what_is_under_way_everything_is_refused(database_url: str) -> None:
    await erased(database_url, "ada", state="stopping")

    async with worker(database_url) as memories:
        with pytest.raises(Refused, match="erased"):
            await memories.store(Store(id=made(AFTER), user_id="ada", content="Has a cat"))
        await memories.store(Store(user_id="bob", content="Has a dog"))


@in_loop
async def test_while_it_sweeps_what_is_new_waits(database_url: str) -> None:
    await erased(database_url, "ada", state="sweeping")

    async with worker(database_url) as memories:
        with pytest.raises(Transient, match="done after that"):
            await memories.store(Store(id=made(AFTER), user_id="ada", content="Has a cat"))

    assert await query(database_url, "SELECT * FROM memory_space") == []


@in_loop
async def test_an_old_fence_that_is_put_up_again_meanwhile_stays(database_url: str) -> None:
    await erased(database_url, "ada")
    aged = text("UPDATE erasure SET ended_at = ended_at - interval '40 days'")
    anew = text("UPDATE erasure SET state = 'stopping', ended_at = NULL")
    async with opened(database_url) as database:
        async with database.transaction() as session:
            await (await session.connection()).execute(aged)
        async with database.engine.connect() as other:
            await other.execute(anew)
            async with opened(database_url) as pruned:
                pruning = asyncio.create_task(Retention(pruned, Settings()).prune(SECONDS))
                await until_a_session_waits(database)
                await other.commit()
                await pruning
    assert await query(database_url, "SELECT state FROM erasure") == [("stopping",)]


@in_loop
async def test_an_id_that_tells_no_time_is_new_once_the_user_has_begun_anew(
    database_url: str,
) -> None:
    await erased(database_url, "ada")
    nightly = Compact(id=uuid4(), user_id="ada")

    async with worker(database_url) as memories:
        with pytest.raises(Refused, match="erased"):
            await memories.compact(nightly)
        await memories.store(Store(id=made(AFTER), user_id="ada", content="Has a cat"))
        await memories.compact(nightly)


@in_loop
async def test_a_space_made_anew_shows_no_index_that_another_process_has_cached(
    database_url: str,
) -> None:
    async with worker(database_url) as other, worker(database_url) as memories:
        await other.store(Store(user_id="ada", content="Has a cat"))
        await query(database_url, "DELETE FROM memory WHERE user_id = 'ada' RETURNING id")
        await query(database_url, "DELETE FROM memory_space WHERE user_id = 'ada' RETURNING count")
        await erased(database_url, "ada", floor=2)

        await memories.store(Store(id=made(AFTER), user_id="ada", content="Has a dog"))
        again = await other.store(Store(id=made(AFTER), user_id="ada", content="Has a cat"))

    assert (again.outcome, again.count) == ("inserted", 2)


@in_loop
async def test_an_end_without_an_effect_is_recorded_for_the_others(database_url: str) -> None:
    """The reaper ends many users' runs in one transaction, which one of them must not fail."""
    await erased(database_url, "ada")

    async with opened(database_url) as database, database.transaction() as session:
        for user_id in ("ada", "bob"):
            await records.complete(
                session, made(BEFORE), "bespoke.some", "parked", user_id=user_id, reason="died"
            )

    assert [row.user_id for row in await query(database_url, "SELECT user_id FROM job")] == ["bob"]


async def do(memories: Memories, payload: Payload[Any]) -> None:
    """Do a job by its name, which is the service's too."""
    await getattr(memories, payload.task.rpartition(".")[2])(payload)
