"""Versions put into use, rolled back, deleted, kept by name and cleaned up, through the queue."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from bespoke_client import Client, JobFailed, programs
from tests.acceptance.held_back import QUICK, HeldBack, ask
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS, wait_until
from tests.two_predictors import NAME, tame_state

ROOT = Path(__file__).resolve().parents[2]
ENV = {"BESPOKE_PROGRAMS": "tests.two_predictors", "PYTHONPATH": str(ROOT)}
PLANT = """
    INSERT INTO program_version
        (id, user_id, program, signature, score, state, description, fingerprint, size_bytes,
            saved_at)
    SELECT gen_random_uuid(), 'user-' || n % 2000, 'p', 's', random(), '{}', '', '', 10, now()
    FROM generate_series(1, 24000) AS n
"""


def test_a_bad_version_is_rolled_back_deleted_and_cleaned_up_after(
    client: Client, start_worker: StartWorker
) -> None:
    start_worker("programs,upkeep", concurrency=1, env=ENV)
    ada = {"program": NAME, "user_id": "ada"}
    good, bad = (
        client.enqueue(programs.Save(**ada, state=tame_state(words), score=score)).result(SECONDS)
        for words, score in [("good", 0.9), ("bad", 0.1)]
    )
    kept = programs.Checkpoint(**ada, name="release", program_id=good.program_id)
    assert client.enqueue(kept).result(SECONDS).name == "release"
    for version in (good, bad):
        activate = programs.Activate(**ada, program_id=version.program_id)
        assert client.enqueue(activate).result(SECONDS).moved

    delete = programs.Delete(user_id="ada", program_id=bad.program_id)
    with pytest.raises(JobFailed, match="in use for 1 owner"):
        client.enqueue(delete).result(SECONDS)
    rollback = programs.Rollback(**ada)
    back = [client.enqueue(rollback).result(SECONDS) for _ in range(2)]  # the same job twice
    assert [each.program_id for each in back] == [good.program_id] * 2
    again = delete.model_copy(update={"id": programs.Delete(program_id=bad.program_id).id})
    assert client.enqueue(again).result(SECONDS).deleted

    restore = programs.RestoreCheckpoint(**ada, name="release", activate=True)
    restored = client.enqueue(restore).result(SECONDS)
    assert restored.active
    assert restored.version is not None
    assert restored.version.state == tame_state("good")
    cleanup = programs.Cleanup(user_id="ada", max_stored_programs=1)
    cleaned = client.enqueue(cleanup).result(SECONDS)
    # One is in use, and a rollback would go back to the other.
    assert (cleaned.deleted_count, cleaned.dry_run) == (0, False)
    active = client.enqueue(programs.LoadActive(**ada)).result(SECONDS).version
    assert active == restored.version


def test_a_cleanup_whose_worker_is_killed_goes_on_and_counts_once(
    client: Client,
    start_worker: StartWorker,
    database_url: str,
) -> None:
    asyncio.run(_execute(database_url, PLANT))
    worker = start_worker("upkeep", concurrency=1, env=QUICK)
    with HeldBack(database_url, "program_version", "user_id = 'user-999'") as last_user:
        job = client.enqueue(programs.Cleanup(max_stored_programs=10))
        wait_until(last_user.waiting, "all pages but the last are done")
        worker.kill_group()
    reached = "SELECT CAST(result ->> 'deleted_count' AS int) FROM job WHERE state = 'accepted'"
    assert ask(database_url, reached) > 0

    start_worker("upkeep", concurrency=1, env=QUICK)
    done = job.result(SECONDS)

    assert (done.deleted_count, done.kept_count) == (4_000, 20_000)
    most = "SELECT max(n) FROM (SELECT count(*) AS n FROM program_version GROUP BY user_id) AS x"
    assert ask(database_url, most) == 10


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
