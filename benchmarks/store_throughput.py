"""Stores per second through the queue, against a task with one ORM INSERT and COMMIT.

The same worker with two processes does both, in turns. Messages are put into the queue while
the worker is halted, so that making them takes no part in the measurement.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import redis

from benchmarks.bench import Figure, Servers, servers
from benchmarks.tasks import INSERT
from bespoke_client import Client, memories
from bespoke_schemas import uuid7
from bespoke_schemas.queues import SHARDS
from tests.nodes.waiting import wait_until
from tests.nodes.worker import WorkerContainer

JOBS = 3_000
USERS = 100
ROUNDS = 3
MIB = 1024 * 1024


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    with servers() as running, running.ready(running.worker("memories")) as worker:
        stores, inserts = [], []
        for number in range(ROUNDS):
            inserts.append(_rate(running, worker, _enqueue_inserts, "delivery"))
            stores.append(_rate(running, worker, partial(_enqueue_stores, number), "job"))
        yield Figure("inserts per second (the floor)", statistics.median(inserts), "1/s")
        yield Figure("stores per second", statistics.median(stores), "1/s")
        ratios = [store / insert for store, insert in zip(stores, inserts, strict=True)]
        yield Figure("store / insert, 2 processes", statistics.median(ratios), "x")
        main = psutil.Process(worker.pid)
        resident = [one.memory_info().rss for one in (main, *main.children())]
        yield Figure("memories worker, main process", resident[0] / MIB, "MiB")
        yield Figure("memories worker, its largest child", max(resident[1:]) / MIB, "MiB")


def _rate(
    running: Servers, worker: WorkerContainer, enqueue: Callable[[Servers], None], table: str
) -> float:
    """Return how many jobs a second the worker does until all of them are in ``table``."""
    query = f"SELECT count(*) FROM {table}"
    before = running.count(query)
    worker.kill_group("SIGSTOP")
    enqueue(running)
    started = time.perf_counter()
    worker.kill_group("SIGCONT")
    wait_until(lambda: running.count(query) - before >= JOBS, "the jobs are done", 120.0)
    return JOBS / (time.perf_counter() - started)


def _enqueue_inserts(running: Servers) -> None:
    app = running.app()
    with app.producer_pool.acquire() as producer, producer.batch():  # type: ignore[attr-defined]  # newer than celery-types
        for number in range(JOBS):
            app.send_task(
                INSERT,
                kwargs={"job_id": str(uuid7())},
                queue=f"memories.{number % SHARDS}",
                producer=producer,
                ignore_result=True,
            )
    with redis.Redis.from_url(running.redis.url) as client:
        assert sum(int(client.llen(f"memories.{n}")) for n in range(SHARDS)) > 0


def _enqueue_stores(number: int, running: Servers) -> None:
    chance = random.Random(number)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=6)) for _ in range(2_000)]
    with Client(running.redis.url) as client:
        client.enqueue_many(
            (
                memories.Store(
                    user_id=f"user-{job % USERS}", content=" ".join(chance.choices(words, k=9))
                )
                for job in range(JOBS)
            ),
            ignore_result=True,
        )
