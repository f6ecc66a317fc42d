"""Stores per second through the queue, against a task with one ORM INSERT and COMMIT.

The same two workers of one process each do both, in turns. Messages are made in another database
of the Redis and moved to the workers in one step, so that making them takes no part in the
measurement, nor does embedding: a text's vector is picked from a table.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import psutil
import redis
from pydantic import SecretStr

from benchmarks.bench import Figure, Servers, servers
from benchmarks.tasks import INSERT
from bespoke_client import Client, memories
from bespoke_schemas import uuid7
from bespoke_schemas.queues import SHARDS, Queue, members
from bespoke_workers.app import make_celery
from bespoke_workers.settings import Settings
from tests.shares import wait_until_divided

JOBS = 3_000
USERS = 100
ROUNDS = 3
PATIENCE = 120.0  # seconds
MIB = 1024 * 1024
PROCESSES = 2
ASIDE = 1
"""The database of the Redis in which messages are made."""


@dataclass(frozen=True)
class Span:
    """The table into which jobs write a row each, and the column with the time of it."""

    table: str
    at: str


STORED = Span("job", "finished_at")
INSERTED = Span("delivery", "last_at")


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    settings = {"BESPOKE_EMBEDDER": "benchmarks.vectors:embed"}
    with servers() as running:
        pair = [running.worker("memories", **settings) for _ in range(PROCESSES)]
        with running.ready(*pair):
            wait_until_divided(running.redis.url, PROCESSES)
            _rate(running, partial(_enqueue_stores, ROUNDS), STORED)
            resident = [psutil.Process(one.pid).memory_info().rss / MIB for one in pair]
            stores, inserts = [], []
            for number in range(ROUNDS):
                inserts.append(_rate(running, _enqueue_inserts, INSERTED))
                stores.append(_rate(running, partial(_enqueue_stores, number), STORED))
    ratios = [store / insert for store, insert in zip(stores, inserts, strict=True)]
    yield Figure("inserts per second (the floor)", statistics.median(inserts), "1/s")
    yield Figure("stores per second", statistics.median(stores), "1/s")
    yield Figure("store / insert, 2 solo processes", statistics.median(ratios), "x", asked=1.2)
    yield Figure("memories worker, each process", max(resident), "MiB")


def _rate(running: Servers, enqueue: Callable[[str], None], span: Span) -> float:
    """Return how many jobs a second the workers do, by the times in the rows that they write.

    Looking at them more often than once a second would take from the workers' cores.
    """
    before = running.count(f"SELECT count(*) FROM {span.table}")
    since = running.ask("SELECT clock_timestamp()")
    enqueue(running.redis.url_for(ASIDE))
    _release(running)
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


def _release(running: Servers) -> None:
    """Move all queues at once to where the workers wait for them."""
    with redis.Redis.from_url(running.redis.url_for(ASIDE)) as client:
        moving = client.pipeline(transaction=True)
        for queue in members(Queue.MEMORIES):
            moving.move(queue, 0)
        assert all(moving.execute()), "a queue was not empty"


def _enqueue_inserts(url: str) -> None:
    app = make_celery(lambda: Settings(broker_url=SecretStr(url)))
    with app.producer_pool.acquire() as producer, producer.batch():  # type: ignore[attr-defined]  # newer than celery-types
        for number in range(JOBS):
            app.send_task(
                INSERT,
                kwargs={"job_id": str(uuid7())},
                queue=f"memories.{number % SHARDS}",
                producer=producer,
                ignore_result=True,
            )


def _enqueue_stores(number: int, url: str) -> None:
    chance = random.Random(number)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=6)) for _ in range(2_000)]
    with Client(url) as client:
        client.enqueue_many(
            (
                memories.Store(
                    user_id=f"user-{job % USERS}", content=" ".join(chance.choices(words, k=9))
                )
                for job in range(JOBS)
            ),
            ignore_result=True,
        )
