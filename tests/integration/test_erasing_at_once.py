"""Erasures while others are under way: of other users, of the same one, and of what runs.

A slice of one lasts as long as it may.
"""

import asyncio
import gzip
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import insert, text
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import uuid7
from bespoke_schemas.exports import EraseUser, ExportUser
from bespoke_schemas.memories import Join, Leave, Store
from bespoke_schemas.optimization import OptimizeTier, OptimizeUser
from bespoke_workers.database.tables import Job
from bespoke_workers.keys import UNACKED
from bespoke_workers.storage.places import Place, Storage
from bespoke_workers.users import erasure_messages, erasure_rows
from bespoke_workers.users.erasing import SLICE_SECONDS
from bespoke_workers.users.erasure_files import Files, Look
from bespoke_workers.users.erasure_messages import Messages, connected
from bespoke_workers.users.exporting import Exporting
from tests.integration.memory_workers import contents, in_loop, opened, query, worker
from tests.integration.optimizing import PROGRAM, working
from tests.integration.test_erasing import (
    ADA,
    SECRET,
    SUMMARY,
    erasing,
    finish,
    live,
    message,
    search,
)
from tests.integration.test_once import until_a_session_waits


@in_loop
async def test_one_that_another_has_ended_erases_no_files_of_the_new_beginning(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(database_url, tmp_path, ADA, SECRET)
    one, other = EraseUser(user_id=ADA), EraseUser(user_id=ADA)
    storage, name = Storage((tmp_path / "storage").as_uri()), "zz.jsonl.gz"
    (tmp_path / "storage" / name).write_bytes(gzip.compress(json.dumps({"user_id": ADA}).encode()))
    monkeypatch.setattr("bespoke_workers.users.erasing.FILES_AT_ONCE", 1)
    clear = Files.clear

    async with erasing(database_url, tmp_path, broker_url) as eraser:

        async def clear_after_the_other(files: Files, *page: Any) -> tuple[int, Counter[str]]:
            found = await clear(files, *page)
            monkeypatch.setattr(Files, "clear", clear)
            await finish(eraser, other)
            exporting = Exporting(eraser._tools.database, storage)
            await exporting.export(ExportUser(user_id=ADA, name=name))
            return found

        monkeypatch.setattr(Files, "clear", clear_after_the_other)
        assert await finish(eraser, one) == await finish(eraser, other)
    assert storage.names() == [name]


@in_loop
async def test_a_shared_space_ends_though_its_last_two_members_go_at_the_same_moment(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    async with worker(database_url) as memories:
        for user_id in (ADA, "bob"):
            await memories.join(Join(user_id=user_id, space="team"))
        await memories.store(Store(user_id="bob", space="team", content="A trumpet"))
    going = text("DELETE FROM space_member WHERE user_id = 'bob'")
    async with (
        erasing(database_url, tmp_path, broker_url) as eraser,
        opened(database_url) as database,
    ):
        async with database.engine.connect() as other:
            await other.execute(going)
            ending = asyncio.create_task(finish(eraser, EraseUser(user_id=ADA)))
            waiting = asyncio.create_task(until_a_session_waits(database))
            await asyncio.wait({ending, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            await other.commit()
        await ending
    assert await contents(database_url, "\x1fteam") == set()


@in_loop
async def test_a_space_that_ends_just_then_has_nothing_more_that_the_user_said(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(database_url) as memories:
        for user_id in (ADA, "bob"):
            await memories.join(Join(user_id=user_id, space="team"))
        await memories.store(Store(user_id=ADA, space="team", content="A xylophone"))
        await memories.leave(Leave(user_id=ADA, space="team"))
    unsay = erasure_rows._unsay

    async def unsay_too_late(session: AsyncSession, owner: str, user_id: str) -> Counter[str]:
        # As an erasure of bob does it, with whom the space ends.
        async with opened(database_url) as other, other.transaction() as ending:
            await erasure_rows._own(ending, owner, set())
        return await unsay(session, owner, user_id)

    monkeypatch.setattr(erasure_rows, "_unsay", unsay_too_late)
    async with erasing(database_url, tmp_path, broker_url) as eraser:
        await finish(eraser, EraseUser(user_id=ADA))
    assert await search(database_url, broker_url, tmp_path) == []


@in_loop
async def test_no_optimization_of_the_user_begins_meanwhile(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bespoke_workers.users.erasing.WAIT_SECONDS", 0.1)
    held = Store(user_id=ADA, content=SECRET)
    queued = OptimizeUser(user_id=ADA, program=PROGRAM)
    async with (
        # No language model is ever reached: the optimization is not to begin.
        working(database_url, tmp_path / "home", lm="http://localhost:1") as programs,
        erasing(database_url, tmp_path, broker_url) as eraser,
    ):
        await programs.teach(ADA, 12)
        assert await programs.optimization.accept(queued) is None
        payload = EraseUser(user_id=ADA)
        with redis.Redis.from_url(broker_url) as client:
            record = json.dumps([json.loads(message(held, "1")), "", "memories.3"])
            client.hset(UNACKED, "1", record)
            assert await eraser.erase(payload) is None  # it waits for what is in somebody's hands
            assert await programs.optimization._leases.claim(queued.id) is None
            client.hdel(UNACKED, "1")
        await finish(eraser, payload)


@in_loop
async def test_each_slice_ends_after_the_file_at_which_its_time_is_up(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "storage"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jsonl").write_text(json.dumps({"user_id": ADA}) + "\n")
    look, now = Files._look, [0.0]
    looked: list[str] = []

    def look_for_long(files: Files, place: Place) -> Look:
        now[0] += SLICE_SECONDS * 2
        looked.append(place.path[-7:])
        return look(files, place)

    monkeypatch.setattr(Files, "_look", look_for_long)
    monkeypatch.setattr("bespoke_workers.users.quiet.monotonic", lambda: now[0])
    async with erasing(database_url, tmp_path, broker_url) as eraser:
        payload = EraseUser(user_id=ADA)
        assert await eraser.erase(payload) is None
        assert set(looked) == {"0.jsonl"}
        assert await eraser.erase(payload) is None
        assert set(looked) == {"0.jsonl", "1.jsonl"}
        await finish(eraser, payload)
    assert list(folder.iterdir()) == []


@in_loop
async def test_a_result_that_named_two_names_neither(database_url: str) -> None:
    errors = {"errors": {ADA: "why", "bob": "why", "eve": "so"}}
    summary = {**SUMMARY, **errors}
    without_bob = text("UPDATE job SET result = result #- '{errors,bob}'")
    async with opened(database_url) as database, opened(database_url) as another:
        async with database.transaction() as session:
            kept = insert(Job).values(id=uuid7(), task=OptimizeTier.task, state="done")
            await session.exec(kept.values(result=summary))

        async def erase_names() -> None:
            async with another.transaction() as session:
                await erasure_rows._named(session, ADA)

        async with database.engine.connect() as other:
            await other.execute(without_bob)
            erasing_names = asyncio.create_task(erase_names())
            await until_a_session_waits(database)
            await other.commit()
        await erasing_names
    (row,) = await query(database_url, "SELECT result FROM job")
    assert row.result["errors"] == {"eve": "so"}


@in_loop
async def test_an_answer_that_named_two_names_neither(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"celery-task-meta-{uuid7()}"
    without = erasure_messages._answer_without

    def answer(*users: str) -> str:
        return json.dumps({"result": {"task": "x", "result": {"errors": dict.fromkeys(users, "")}}})

    with redis.Redis.from_url(broker_url) as client:

        def without_meanwhile(*given: Any) -> bytes | None:
            monkeypatch.setattr(erasure_messages, "_answer_without", without)
            client.set(key, answer(ADA, "eve"), keepttl=True)  # as an erasure of bob does it
            return without(*given)

        monkeypatch.setattr(erasure_messages, "_answer_without", without_meanwhile)
        client.set(key, answer(ADA, "bob", "eve"), ex=100)
        async with connected(broker_url, broker_url) as (broker, results):
            forgotten = await Messages(broker, results, ADA, ()).forget_answers(datetime.now(UTC))
        assert json.loads(client.get(key) or b"") == json.loads(answer("eve"))
        assert client.ttl(key) > 0
    assert forgotten == 1
