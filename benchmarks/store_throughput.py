"""Stores per second through the queue, against a task with one ORM INSERT and COMMIT.

The same worker with two processes does both, in turns. Messages are put into the queue while
the worker is halted, so that making them takes no part in the measurement.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import psutil
import redis

from benchmarks.bench import Figure, Servers, servers
from benchmarks.tasks import INSERT
from bespoke_client import Client, memories
from bespoke_schemas import uuid7
from bespoke_schemas.queues import SHARDS
from tests.nodes.worker import WorkerContainer

JOBS = 3_000
USERS = 100
ROUNDS = 3
PATIENCE = 120.0  # seconds
MIB = 1024 * 1024


@dataclass(frozen=True)
class Span:
    """The table into which jobs write a row each, and the column with the time of it."""

    table: str
    at: str


STORED = Span("job", "finished_at")
INSERTED = Span("delivery", "last_at")


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    with servers() as running, running.ready(running.worker("memories")) as worker:
        _rate(running, worker, partial(_enqueue_stores, ROUNDS), STORED)
        main = psutil.Process(worker.pid)
        resident = [one.memory_info().rss / MIB for one in (main, *main.children())]
        stores, inserts = [], []
        for number in range(ROUNDS):
            inserts.append(_rate(running, worker, _enqueue_inserts, INSERTED))
            stores.append(_rate(running, worker, partial(_enqueue_stores, number), STORED))
    ratios = [store / insert for store, insert in zip(stores, inserts, strict=True)]
    yield Figure("inserts per second (the floor)", statistics.median(inserts), "1/s")
    yield Figure("stores per second", statistics.median(stores), "1/s")
    yield Figure("store / insert, 2 processes", statistics.median(ratios), "x")
    yield Figure("memories worker, main process", resident[0], "MiB")
    yield Figure("memories worker, each of its processes", max(resident[1:]), "MiB")


def _rate(
    running: Servers, worker: WorkerContainer, enqueue: Callable[[Servers], None], span: Span
) -> float:
    """Return how many jobs a second the worker does, by the times in the rows that it writes.

    Looking at them more often than once a second would take from the worker's cores.
    """
    before = running.count(f"SELECT count(*) FROM {span.table}")
    since = running.ask("SELECT clock_timestamp()")
    worker.kill_group("SIGSTOP")
    enqueue(running)
    worker.kill_group("SIGCONT")
    deadline = time.monotonic() + PATIENCE
    while running.count(f"SELECT count(*) FROM {span.table}") - before < JOBS:
        assert time.monotonic() < deadline, "the jobs are not done in time"
        time.sleep(1.0)
    spent = running.ask(
        f"SELECT extract(epoch FROM max({span.at}) - min({span.at})) FROM {span.table} "
        f"WHERE {span.at} >= $1",
        since,
    )
    return (JOBS - 1) / float(spent)


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
