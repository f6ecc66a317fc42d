"""Stores per second through the queue, against a task with one ORM INSERT and COMMIT.

The same two workers of one process each do both, in turns; and two more do the same insert as
Celery comes, with its own transport for Redis. Messages are made in another database
of the Redis and moved to the workers in one step, so that making them takes no part in the
measurement, nor does embedding: a text's vector is picked from a table.
"""

import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import redis
from celery import Celery
from pydantic import SecretStr

from benchmarks import stock, vectors, workload
from benchmarks.bench import Figure, Servers, servers
from benchmarks.tasks import INSERT
from bespoke_client import Client, memories
from bespoke_schemas import uuid7
from bespoke_schemas.queues import SHARDS, Queue, members
from bespoke_workers.app import make_celery
from bespoke_workers.settings import Settings
from tests.nodes.worker import WorkerContainer
from tests.shares import wait_until_divided

JOBS = 3_000
USERS = 100
ROUNDS = 3
PATIENCE = 120.0  # seconds
MIB = 1024 * 1024
PEERS = Path(".venv-peers/bin/python")
PEER_STORE = "chroma"
"""Of mem0's local stores the one whose pace holds: with faiss and qdrant, each look goes through
all users' memories, and each memory that faiss adds writes the whole file anew."""
OURS = "OPENBLAS_NUM_THREADS"
PEER_EACH, PEER_SEED, AGAIN = 100, 99, 0.05
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
    settings = {"BESPOKE_EMBEDDER": vectors.EMBEDDER}
    with servers() as running:
        pair = [running.worker("memories", **settings) for _ in range(PROCESSES)]
        with running.ready(*pair), _stock(running):
            wait_until_divided(running.redis.url, PROCESSES)
            _rate(running, partial(_enqueue_stores, ROUNDS), STORED)
            resident = [psutil.Process(one.pid).memory_info().rss / MIB for one in pair]
            stores, inserts, as_it_comes = [], [], []
            for number in range(ROUNDS):
                as_it_comes.append(_rate(running, _enqueue_stock, INSERTED))
                inserts.append(_rate(running, _enqueue_inserts, INSERTED))
                stores.append(_rate(running, partial(_enqueue_stores, number), STORED))
            peer = _rate(running, _enqueue_peers, STORED, jobs=USERS * PEER_EACH)
    yield Figure("inserts per second (the floor)", statistics.median(inserts), "1/s")
    yield Figure("inserts per second, Celery as it comes", statistics.median(as_it_comes), "1/s")
    yield Figure("stores per second", statistics.median(stores), "1/s")
    yield Figure("store / insert, 2 solo processes", _ratio(stores, inserts), "x", asked=1.2)
    yield Figure("store / insert by Celery as it comes", _ratio(stores, as_it_comes), "x")
    yield Figure("memories worker, each process", max(resident), "MiB")
    yield Figure("stores per second, 5 % said again", peer, "1/s")
    mem0 = _mem0()
    yield Figure("mem0 in process, the same texts", mem0, "1/s")
    yield Figure("store / mem0", peer / mem0, "x", asked=10)


@contextlib.contextmanager
def _stock(running: Servers) -> Iterator[None]:
    """Run the workers of Celery as it comes, from when they have done a job each."""
    pair = [
        WorkerContainer(
            "benchmarks.stock",
            environment={
                **os.environ,
                "BESPOKE_DATABASE_URL": running.postgres.url,
                "BESPOKE_BROKER_URL": running.redis.url,
            },
            queues=stock.QUEUE,
            pool="solo",
            log_level="WARNING",
        )
        for _ in range(PROCESSES)
    ]
    try:
        for worker in pair:
            worker.start()
        _rate(running, _enqueue_stock, INSERTED)
        yield
    finally:
        for worker in pair:
            worker.teardown()


def _ratio(rates: list[float], floors: list[float]) -> float:
    return statistics.median(rate / floor for rate, floor in zip(rates, floors, strict=True))


def _mem0() -> float:
    """Return how many texts a second mem0 takes, looking for a duplicate before each."""
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is missing; run `make bench`, which installs mem0 there")
    asked = [PEER_STORE, USERS, PEER_EACH, PEER_SEED, AGAIN]
    command = [str(PEERS), "-m", "benchmarks.mem0_peer", *(str(one) for one in asked)]
    # As many threads as mem0 likes: what holds for our processes is in the environment.
    environment = {name: value for name, value in os.environ.items() if name != OURS}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    answer = json.loads(ran.stdout.splitlines()[-1])
    return float(answer["stores"] / answer["seconds"])


def _rate(running: Servers, enqueue: Callable[[str], None], span: Span, jobs: int = JOBS) -> float:
    """Return how many jobs a second the workers do, by the times in the rows that they write.

    Looking at them more often than once a second would take from the workers' cores.
    """
    before = running.count(f"SELECT count(*) FROM {span.table}")
    since = running.ask("SELECT clock_timestamp()")
    enqueue(running.redis.url_for(ASIDE))
    _release(running)
    deadline = time.monotonic() + PATIENCE
    while running.count(f"SELECT count(*) FROM {span.table}") - before < jobs:
        assert time.monotonic() < deadline, "the jobs are not done in time"
        time.sleep(1.0)
    spent = running.ask(
        f"SELECT extract(epoch FROM max({span.at}) - min({span.at})) FROM {span.table} "
        f"WHERE {span.at} >= $1",
        since,
    )
    return (jobs - 1) / float(spent)


def _release(running: Servers) -> None:
    """Move what was enqueued, all queues at once, to where the workers wait for it."""
    with redis.Redis.from_url(running.redis.url_for(ASIDE)) as client:
        queues = [one for one in (stock.QUEUE, *members(Queue.MEMORIES)) if client.exists(one)]
        moving = client.pipeline(transaction=True)
        for queue in queues:
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


def _enqueue_stock(url: str) -> None:
    with Celery("stock", broker=url) as app, app.producer_pool.acquire() as producer:
        for _ in range(JOBS):
            given = {"job_id": str(uuid7())}
            app.send_task(stock.INSERT, kwargs=given, queue=stock.QUEUE, producer=producer)


def _enqueue_stores(seed: int, url: str) -> None:
    _enqueue(workload.stores(USERS, JOBS // USERS, seed), url)


def _enqueue_peers(url: str) -> None:
    stores = workload.stores(USERS, PEER_EACH, PEER_SEED, AGAIN)
    _enqueue(((f"peer-{user_id}", text) for user_id, text in stores), url)


def _enqueue(stores: Iterable[tuple[str, str]], url: str) -> None:
    with Client(url) as client:
        client.enqueue_many(
            (memories.Store(user_id=user_id, content=text) for user_id, text in stores),
            ignore_result=True,
        )
