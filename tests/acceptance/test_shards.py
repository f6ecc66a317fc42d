"""Each user's stores are done by one process at a time, whoever comes and goes."""

import json
from collections.abc import Iterable

import redis

from bespoke_client import Client, Job, memories
from bespoke_schemas.queues import shard
from bespoke_workers.keys import UNACKED
from tests.acceptance.held_back import HeldBack, ask
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS, wait_until
from tests.nodes.worker import WorkerContainer
from tests.shares import wait_until_divided

USERS = [f"user-{number}" for number in range(40)]
QUICK = {"BESPOKE_CLAIM_TIMEOUT_S": "4"}


def enqueue(client: Client, said: Iterable[str]) -> dict[str, list[Job[memories.Stored]]]:
    jobs = {user: [memories.Store(user_id=user, content=text) for text in said] for user in USERS}
    return {user: client.enqueue_many(stores) for user, stores in jobs.items()}


def doers(jobs: dict[str, list[Job[memories.Stored]]], *workers: WorkerContainer) -> list[set[int]]:
    """Which of the workers did each shard's jobs, by their logs."""
    found: list[set[int]] = [set() for _ in range(16)]
    for user, stores in jobs.items():
        for job in stores:
            job.result(SECONDS)
            found[shard(user)] |= {n for n, one in enumerate(workers) if str(job.id) in one.logs()}
    return found


def told_jobs(worker: WorkerContainer) -> set[str]:
    """The jobs that the events in a worker's log say they belong to."""
    lines = [json.loads(line) for line in worker.logs().splitlines() if line.startswith("{")]
    return {line["job"] for line in lines if line["logger"] == "bespoke.events"}


def test_two_workers_divide_the_users_and_one_takes_over_when_the_other_is_killed(
    client: Client, start_worker: StartWorker, broker_url: str, database_url: str
) -> None:
    one, two = (start_worker("memories", pool="solo", concurrency=1, env=QUICK) for _ in "12")
    doers(enqueue(client, ["the first imports what the rest need"]))
    wait_until_divided(broker_url, 2)

    did = doers(enqueue(client, ["something else", "a third"]), one, two)

    assert all(len(each) == 1 for each in did)
    assert all(len(jobs) > 1 for jobs in (told_jobs(one), told_jobs(two)))
    assert sum(each == {0} for each in did) == 8

    jobs = enqueue(client, ["what is in flight while one dies"])
    one.kill()
    assert all(job.result(SECONDS).count == 4 for stores in jobs.values() for job in stores)
    assert ask(database_url, "SELECT count(*) FROM memory") == 4 * len(USERS)


def test_a_store_that_outlasts_the_claim_in_the_loop_is_delivered_once(
    client: Client, start_worker: StartWorker, broker_url: str, database_url: str
) -> None:
    env = {"BESPOKE_CLAIM_TIMEOUT_S": "3"}  # no stall of a busy machine is as long
    for _ in "12":
        start_worker("memories", pool="solo", concurrency=1, env=env)
    with HeldBack(database_url, "memory") as table, redis.Redis.from_url(broker_url) as store:
        job = client.enqueue(memories.Store(user_id="ada", content="Prefers dark mode"))
        wait_until(table.waiting, "the store is in the middle of its transaction")
        ((receipt, claimed),) = store.zrange(f"{UNACKED}_index", 0, -1, withscores=True)
        wait_until(
            lambda: store.zscore(f"{UNACKED}_index", receipt) > claimed + 3.5, "renewed for 3.5 s"
        )
    assert job.result(SECONDS).count == 1
    assert ask(database_url, "SELECT count(*) FROM delivery") == 0
