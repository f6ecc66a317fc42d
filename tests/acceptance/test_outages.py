"""Servers that are away or not ready: jobs wait, and are done when the servers are back."""

import redis

from bespoke_client import Client, memories
from bespoke_workers.database import migrate
from bespoke_workers.local import LocalPostgres
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS


def test_a_job_waits_for_the_database_to_be_migrated(
    client: Client, start_worker: StartWorker, empty_database_url: str
) -> None:
    worker = start_worker("memories", env={"BESPOKE_DATABASE_URL": empty_database_url})
    job = client.enqueue(memories.Store(user_id="ada", content="Prefers dark mode"))
    worker.wait_for_log("run `bespoke migrate`")
    migrate.upgrade(empty_database_url)
    assert job.result(SECONDS).count == 1


def test_a_job_waits_for_postgresql_to_come_back(
    client: Client, start_worker: StartWorker, postgres_server: LocalPostgres
) -> None:
    worker = start_worker("memories")
    client.enqueue(memories.Store(user_id="ada", content="Prefers dark mode")).result(SECONDS)
    postgres_server.kill()
    job = client.enqueue(memories.Store(user_id="ada", content="Lives in Turin"))
    worker.wait_for_log("try again")
    postgres_server.start()
    assert job.result(SECONDS).count == 2


def test_nonsense_on_the_queue_harms_nobody(
    client: Client, start_worker: StartWorker, broker_url: str
) -> None:
    start_worker("memories")
    with redis.Redis.from_url(broker_url) as raw:
        for shard in range(16):
            raw.lpush(f"memories.{shard}", b"\xff not json", b"{}", b"[]", b'{"body": 3}')
    job = client.enqueue(memories.Store(user_id="ada", content="Prefers dark mode"))
    assert job.result(SECONDS).count == 1
