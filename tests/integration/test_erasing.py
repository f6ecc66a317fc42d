"""An erasure is done once, is taken up after a kill, and touches nobody else."""

import asyncio
import base64
import gzip
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import insert

from bespoke_schemas import uuid7
from bespoke_schemas.examples import AddMany
from bespoke_schemas.exports import Erased, EraseUser, ExportUser
from bespoke_schemas.memories import Delete, Export, Join, Leave, Store, Update
from bespoke_schemas.optimization import OptimizeTier
from bespoke_workers.database.tables import Batch, CompactionRound, Job
from bespoke_workers.errors import Refused
from bespoke_workers.keys import UNACKED
from bespoke_workers.memories.exporting import Exporting as ExportingMemories
from bespoke_workers.storage.places import Storage
from bespoke_workers.users.erasing import Erasing, Tools
from bespoke_workers.users.exporting import Exporting
from tests.acceptance.everything import found, rows
from tests.integration.memory_workers import contents, in_loop, opened, query, worker
from tests.integration.optimizing import PROGRAM, RecordingOutbox, lessons, working

ADA, SECRET = "ada@example.com", "xylophone"
TABLES = (
    "memory",
    "memory_space",
    "memory_archive",
    "example",
    "learner",
    "program_version",
    "job",
)
OF_BOB = dict.fromkeys(TABLES, "user_id = 'bob'")


def tools(database: Any, folder: Path, redis_url: str) -> Tools:
    storage = Storage((folder / "storage").as_uri())
    urls = (redis_url, redis_url)
    home = folder / "home"
    return Tools(
        database,
        RecordingOutbox(),
        storage,
        urls,
        home,
        lambda _: None,
        tracks_nothing,
        tracks_nothing,
    )


async def tracks_nothing(_: str) -> int:
    return 0


async def live(url: str, folder: Path, user_id: str, word: str) -> None:
    """Leave something of a user in many places."""
    async with working(url, folder / "home") as programs, worker(url) as memories:
        await memories.store(Store(user_id=user_id, content=f"Plays the {word}", tags=(word,)))
        gone = await memories.store(Store(user_id=user_id, content=f"Sold a {word}"))
        await memories.delete(Delete(user_id=user_id, memory_id=gone.memory_id))
        for space in ("team", f"diary of {user_id}"):
            await memories.join(Join(user_id=user_id, space=space))
            said = Store(user_id=user_id, space=space, content=f"{user_id} has a {word}")
            await memories.store(said)
        taught = tuple({**one, "text": f"{one['text']} {word}"} for one in lessons(12))
        await programs.examples.add_many(AddMany(user_id=user_id, program=PROGRAM, examples=taught))
        storage = Storage((folder / "storage").as_uri())
        await Exporting(programs.database, storage).export(ExportUser(user_id=user_id))
        exporting = ExportingMemories(programs.database, storage)
        await exporting.export(Export(user_id=user_id, name=f"{user_id}.jsonl"))


@asynccontextmanager
async def erasing(url: str, folder: Path, redis_url: str) -> AsyncIterator[Erasing]:
    async with opened(url) as database:
        yield Erasing(tools(database, folder, redis_url))


async def finish(erasing: Erasing, payload: EraseUser) -> Erased:
    """Erase, as often as it goes back to its queue."""
    for _ in range(100):
        erased = await erasing.erase(payload)
        if erased is not None:
            return erased
    raise TimeoutError("the erasure does not come to an end")


async def search(url: str, redis_url: str, folder: Path) -> list[str]:
    return await asyncio.to_thread(
        found, (ADA, SECRET), database_url=url, redis_url=redis_url, folders=(folder,)
    )


async def kept_of_bob(url: str) -> dict[str, list[str]]:
    return await asyncio.to_thread(rows, url, OF_BOB)


def message(payload: Any, tag: str) -> str:
    """Return a message as Celery sends it."""
    body = json.dumps([[], {"payload": payload.model_dump(mode="json")}, {}])
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "headers": {"task": payload.task, "id": str(payload.id), "eta": None},
            "properties": {"body_encoding": "base64", "delivery_tag": tag},
        }
    )


@in_loop
async def test_once_is_all_and_the_answer_stays(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    await live(database_url, tmp_path, ADA, SECRET)
    await live(database_url, tmp_path, "bob", "trumpet")
    kept = await kept_of_bob(database_url)
    payload = EraseUser(user_id=ADA)

    async with erasing(database_url, tmp_path, broker_url) as eraser:
        erased = await finish(eraser, payload)
        assert await search(database_url, broker_url, tmp_path) == []
        again = await finish(eraser, payload)
        with pytest.raises(Refused, match="belongs to another job"):
            await eraser.erase(EraseUser(id=payload.id, user_id="bob"))

    assert again == erased
    assert await kept_of_bob(database_url) == kept
    assert erased.unread_files == 0
    some = {"memory": 2, "example": 12, "learner": 1, "memory_space": 2, "space_member": 2}
    assert some.items() <= erased.erased.items()
    assert (erased.erased["said_in_shared_spaces"], erased.erased["files"]) == (1, 2)
    (record,) = await query(database_url, "SELECT * FROM job WHERE id = :id", id=payload.id)
    assert record.user_id == payload.subject()


@in_loop
async def test_an_erasure_asked_for_before_one_that_ended_erases_nothing_of_the_new_beginning(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    earlier, later = EraseUser(user_id=ADA), EraseUser(user_id=ADA)
    async with erasing(database_url, tmp_path, broker_url) as eraser:
        await finish(eraser, later)
        async with worker(database_url) as memories:
            await asyncio.sleep(0.01)  # an id tells its time to the millisecond
            await memories.store(Store(user_id=ADA, content="Begins anew"))
            assert (await finish(eraser, earlier)).erased == {}
            assert await contents(database_url, ADA) == {"Begins anew"}
            assert (await finish(eraser, EraseUser(user_id=ADA))).erased["memory"] == 1
            await memories.store(Store(user_id=ADA, content="Begins again"))

    assert await contents(database_url, ADA) == {"Begins again"}


@in_loop
async def test_others_keep_what_they_said_in_a_shared_space(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    async with worker(database_url) as memories, worker(database_url) as other:
        for user_id in (ADA, "bob"):
            await memories.join(Join(user_id=user_id, space="team"))
        said = await memories.store(Store(user_id=ADA, space="team", content="A xylophone"))
        edited = await memories.store(Store(user_id=ADA, space="team", content="Some xylophones"))
        await other.store(Store(user_id="bob", space="team", content="A trumpet"))
        for one in (said, edited):  # the name of who said it first is in the archive only
            await other.update(
                Update(user_id="bob", space="team", memory_id=one.memory_id, metadata={"a": 1})
            )
        await memories.leave(Leave(user_id=ADA, space="team"))

        async with erasing(database_url, tmp_path, broker_url) as eraser:
            await finish(eraser, EraseUser(user_id=ADA))

        assert await search(database_url, broker_url, tmp_path) == []
        assert await contents(database_url, "\x1fteam") == {"A trumpet"}
        stored = await other.store(Store(user_id="bob", space="team", content="A xylophone, yes"))
        assert (stored.outcome, stored.count) == ("inserted", 2)


@in_loop
async def test_messages_and_answers_go_and_those_of_others_stay(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    hers, his = Store(user_id=ADA, content=SECRET), Store(user_id="bob", content="a word")
    task = "bespoke.memories.list_members"
    answers = {
        uuid7(): {"task": task, "result": {"members": [ADA, "bob"]}, "users": ["u-1"]},
        uuid7(): {"task": "x", "result": {"errors": {ADA: "why", "bob": "so"}}},
        uuid7(): {"task": "x", "result": {"user_id": ADA}},
    }
    with redis.Redis.from_url(broker_url, decode_responses=True) as client:
        client.lpush("memories.3", message(hers, "1"), message(his, "2"))
        client.lpush("memories.4.unreadable", message(hers, "3")[:-1], "of nobody")
        client.hset(UNACKED, "4", json.dumps([json.loads(message(his, "4")), "", "memories.3"]))
        for job_id, answer in answers.items():
            client.set(f"celery-task-meta-{job_id}", json.dumps({"result": answer}), ex=100)

        async with erasing(database_url, tmp_path, broker_url) as eraser:
            erased = await finish(eraser, EraseUser(user_id=ADA))

        assert await search(database_url, broker_url, tmp_path) == []
        assert client.lrange("memories.3", 0, -1) == [message(his, "2")]
        assert client.lrange("memories.4.unreadable", 0, -1) == ["of nobody"]
        assert client.hkeys(UNACKED) == ["4"]
        first, second, third = (f"celery-task-meta-{one}" for one in answers)
        assert json.loads(client.get(first) or "")["result"]["result"] == {"members": ["bob"]}
        assert json.loads(client.get(second) or "")["result"]["result"] == {"errors": {"bob": "so"}}
        assert client.get(third) is None
        assert client.ttl(first) > 0
    assert (erased.erased["messages"], erased.erased["answers"]) == (1, 3)


@in_loop
async def test_it_waits_for_what_is_in_a_workers_hands(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bespoke_workers.users.erasing.WAIT_SECONDS", 0.1)
    held = Store(user_id=ADA, content=SECRET)
    with redis.Redis.from_url(broker_url) as client:
        client.hset(UNACKED, "1", json.dumps([json.loads(message(held, "1")), "", "memories.3"]))
        async with erasing(database_url, tmp_path, broker_url) as eraser:
            payload = EraseUser(user_id=ADA)
            assert await eraser.erase(payload) is None
            (row,) = await query(database_url, "SELECT state FROM erasure")
            assert row.state == "stopping"
            client.hdel(UNACKED, "1")
            await finish(eraser, payload)


@in_loop
async def test_bundles_of_several_lose_the_users_lines_and_are_whole(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "storage"
    folder.mkdir()
    lines = [{"content": "a", "user_id": ADA}, {"content": "b", "user_id": "bob"}]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / "both.jsonl").write_bytes(text)
    (folder / "both.jsonl.gz").write_bytes(gzip.compress(text))
    (folder / "torn.jsonl.gz.0.part").write_bytes(gzip.compress(text * 9_000)[:-20])
    (folder / "hers.jsonl").write_bytes(text.splitlines(keepends=True)[0])
    (folder / "photo.bin").write_bytes(b"\x00\xff" * 100)

    async with erasing(database_url, tmp_path, broker_url) as eraser:
        erased = await finish(eraser, EraseUser(user_id=ADA))

    left = {path.name for path in folder.iterdir()}
    assert left == {"both.jsonl", "both.jsonl.gz", "photo.bin"}
    assert json.loads((folder / "both.jsonl").read_bytes()) == lines[1]
    assert json.loads(gzip.decompress((folder / "both.jsonl.gz").read_bytes())) == lines[1]
    assert (erased.erased["files"], erased.erased["files_rewritten"]) == (2, 2)
    assert erased.unread_files == 1


@in_loop
async def test_plans_and_sums_of_many_users_no_longer_name_the_user(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    await live(database_url, tmp_path, "abe", "trumpet")
    await live(database_url, tmp_path, ADA, SECRET)
    async with opened(database_url) as database, database.transaction() as session:
        statements = (
            insert(Batch).values(
                id=uuid7(), key="k", program=PROGRAM, tier="basic", state="planning",
                max_concurrent=4, min_new_examples=1, planned_through=ADA,
            ),
            insert(CompactionRound).values(id=uuid7(), state="done", planned_through=ADA),
            insert(Job).values(id=uuid7(), task=OptimizeTier.task, state="done", result=SUMMARY),
        )  # fmt: skip
        for one in statements:
            await session.exec(one)

    async with erasing(database_url, tmp_path, broker_url) as eraser:
        await finish(eraser, EraseUser(user_id=ADA))

    assert await search(database_url, broker_url, tmp_path) == []
    assert await query(database_url, "SELECT planned_through FROM batch") == [("abe",)]
    (summary,) = await query(
        database_url, "SELECT result FROM job WHERE task = :task", task=OptimizeTier.task
    )
    assert summary.result["errors"] == {"bob": "why"}


KILLED_AFTER = (4, 14, 24, 34, 44, 60)
"""Statements and commits; each delivery begins at the beginning and has less to do."""
SUMMARY = {
    "batch_id": str(UUID(int=1)), "program": "support", "tier": "basic", "eligible": 2,
    "promoted": 0, "unchanged": 0, "failed": 2, "errors": {ADA: "why", "bob": "why"},
}  # fmt: skip


@in_loop
async def test_killed_at_any_moment_it_is_taken_up_again(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    await live(database_url, tmp_path, ADA, SECRET)
    await live(database_url, tmp_path, "bob", "trumpet")
    kept = await kept_of_bob(database_url)
    payload = EraseUser(user_id=ADA)

    statements = ",".join(map(str, KILLED_AFTER))
    arguments = (database_url, broker_url, str(tmp_path), str(payload.id), statements)
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.integration.erasing_to_be_killed", *arguments],
        capture_output=True,
        text=True,
    )
    assert process.stdout.split() == ["9"] * len(KILLED_AFTER), process.stderr

    async with erasing(database_url, tmp_path, broker_url) as eraser:
        erased = await finish(eraser, payload)
    assert await search(database_url, broker_url, tmp_path) == []
    assert await kept_of_bob(database_url) == kept
    assert erased.erased["memory"] == 2
