"""A storm: workers and servers are killed while stores are in flight; then everything is counted.

Each fault strikes when a set share of the stores is done and a worker is busy, so that a run
with fewer stores meets the same faults at the same shares.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil
import redis

from bespoke_client import BrokerUnavailable, Client, memories
from bespoke_schemas.queues import Queue, members
from bespoke_workers.database import migrate
from bespoke_workers.local import LocalPostgres, LocalRedis
from tests.nodes.waiting import wait_until
from tests.nodes.worker import WorkerContainer

WORKERS = 2
USERS = 40
REPEAT_EVERY = 20  # every so many stores a user says the same thing once more
PAGE = 100  # stores enqueued at a time
BACKLOG = 1_000  # stores that wait at most, so that enqueueing goes on during the faults
SETTLE_SECONDS = 180.0
CLAIM_TIMEOUT_SECONDS = 3.0
UNACKED = "bespoke.unacked"


@dataclass(frozen=True)
class Faults:
    """How many times each fault strikes in one storm."""

    worker_kills: int
    child_kills: int
    group_terminations: int
    redis_kills: int
    postgres_kills: int


@dataclass
class Storm:
    """Servers and workers under ``home``, and the stores that they are given."""

    home: Path
    stores: int
    faults: Faults
    tell: Callable[[str], None] = print
    struck: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(7)
        self._last_done = 0
        self.postgres = LocalPostgres(self.home / "postgres", durable=False)
        self.redis = LocalRedis(self.home / "redis")
        self.workers: list[WorkerContainer] = []
        self._pools = itertools.cycle(["prefork", "solo"])
        self.payloads = list(payloads(self.stores))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the servers and the workers; all of them are gone afterwards."""
        try:
            self.postgres.start()
            self.redis.start()
            migrate.upgrade(self.postgres.url)
            for _ in range(WORKERS):
                self._start_worker()
            yield
        finally:
            for worker in self.workers:
                worker.teardown()
            self.redis.stop()
            self.postgres.stop()

    def rage(self) -> None:
        """Enqueue all stores while faults strike, and wait until every store is done."""
        producer = threading.Thread(target=self._produce)
        producer.start()
        strikes = self._strikes()
        for number, strike in enumerate(strikes, start=1):
            share = number * self.stores // (len(strikes) + 1)
            self._wait(lambda share=share: self.done() >= share)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            self._wait(self._busy)
            self.tell(f"{self.done():>6} done, {strike.__name__.strip('_').replace('_', ' ')}")
            strike()
            self.struck[strike.__name__.strip("_")] += 1
        producer.join()
        self._wait(lambda: self.done() >= self.stores)
        self._wait(lambda: self.in_redis() == 0)
        self.tell(f"{self.done():>6} done, all of them")

    def done(self) -> int:
        """How many jobs took effect; the last known number while PostgreSQL is away."""
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._last_done = self.count("SELECT count(*) FROM job")
        return self._last_done

    def count(self, query: str) -> int:
        """Run a query that answers with one number."""

        async def ask() -> int:
            connection = await asyncpg.connect(self.postgres.url.replace("+asyncpg", ""))
            try:
                return int(await connection.fetchval(query))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def in_redis(self) -> int:
        """How many messages wait or are in a worker's hands."""
        with redis.Redis.from_url(self.redis.url) as client:
            names = [name for family in Queue for name in members(family)]
            waiting = sum(int(client.llen(name)) for name in names)
            return waiting + int(client.hlen(UNACKED))

    def _produce(self) -> None:
        with Client(self.redis.url) as client:
            for start in range(0, self.stores, PAGE):
                self._wait(lambda start=start: start - self._last_done < BACKLOG)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                self._enqueue(client, self.payloads[start : start + PAGE])

    def _enqueue(self, client: Client, page: list[memories.Store]) -> None:
        """Enqueue a page; again while Redis is away, which the payloads' ids make safe."""
        while True:
            try:
                client.enqueue_many(page)
            except BrokerUnavailable:
                self.struck["enqueued again"] += 1
            else:
                return

    def _strikes(self) -> list[Callable[[], None]]:
        strikes = [self._kill_worker] * self.faults.worker_kills
        strikes += [self._kill_child] * self.faults.child_kills
        strikes += [self._terminate_group] * self.faults.group_terminations
        strikes += [self._kill_redis] * self.faults.redis_kills
        strikes += [self._kill_postgres] * self.faults.postgres_kills
        self._chance.shuffle(strikes)
        return strikes

    def _kill_worker(self) -> None:
        worker = self._chance.choice(self.workers)
        worker.kill()
        self._replace(worker)

    def _kill_child(self) -> None:
        children = [child for worker in self.workers for child in worker.children()]
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            self._chance.choice(children).kill()

    def _terminate_group(self) -> None:
        worker = self._chance.choice(self.workers)
        worker.kill_group(signal.SIGTERM)
        # A warm shutdown may hang under a load of tiny tasks, so whatever supervises a
        # worker kills it in the end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(10)
        self._replace(worker)

    def _kill_redis(self) -> None:
        self.redis.kill()
        self.redis.start()

    def _kill_postgres(self) -> None:
        self.postgres.kill()
        self.postgres.start()

    def _replace(self, worker: WorkerContainer) -> None:
        worker.teardown()
        self.workers.remove(worker)
        self._start_worker()

    def _start_worker(self) -> None:
        worker = WorkerContainer(
            "bespoke_workers",
            environment={**os.environ, **self._environment()},
            queues="memories,reads,upkeep",
            concurrency=2,
            pool=next(self._pools),
            preloaded=True,
        )
        self.workers.append(worker)
        worker.start()

    def _environment(self) -> dict[str, str]:
        return {
            "BESPOKE_HOME": str(self.home),
            "BESPOKE_DATABASE_URL": self.postgres.url,
            "BESPOKE_BROKER_URL": self.redis.url,
            "BESPOKE_CLAIM_TIMEOUT_S": str(CLAIM_TIMEOUT_SECONDS),
            # A message may be in the hands of more killed workers here than in a year elsewhere.
            "BESPOKE_MAX_DELIVERIES": "100",
        }

    def _busy(self) -> bool:
        """Whether some message is in a worker's hands."""
        client = redis.Redis.from_url(self.redis.url)
        with contextlib.suppress(redis.RedisError), client:
            return int(client.hlen(UNACKED)) > 0
        return False

    def _wait(self, true: Callable[[], bool]) -> None:
        try:
            wait_until(true, "the storm goes on", SETTLE_SECONDS)
        except TimeoutError:
            lines = "\n".join(line for w in self.workers for line in w.logs().splitlines()[-20:])
            raise AssertionError(
                f"stuck with {self.done()} of {self.stores} done, {self.in_redis()} in Redis; "
                f"the workers' last lines:\n{lines}"
            ) from None


def payloads(stores: int) -> Iterator[memories.Store]:
    """Make stores of some users, with repeats among each user's."""
    for number in range(stores):
        said = number - USERS + 1 if _repeats(number) else number
        yield memories.Store(user_id=f"user-{said % USERS}", content=saying(said))


def repeats(stores: int) -> int:
    """How many of the stores say what the same user said before."""
    return sum(map(_repeats, range(stores)))


def _repeats(number: int) -> bool:
    # What it says again, number - USERS + 1, is no repeat itself.
    return number % REPEAT_EVERY == 0 and number >= USERS


def saying(number: int) -> str:
    """Return a sentence unlike any other number's."""
    chance = random.Random(number)
    return " ".join("".join(chance.choices("abcdefghijklmnoprstuvw", k=7)) for _ in range(6))


def verify(storm: Storm) -> dict[str, int]:
    """Count what the storm left; raises AssertionError where a job was lost or done twice."""
    counted = {
        "jobs": storm.count("SELECT count(*) FROM job WHERE state = 'done'"),
        "memories": storm.count("SELECT count(*) FROM memory"),
        "archived": storm.count("SELECT count(*) FROM memory_archive"),
        "counted": storm.count("SELECT sum(count) FROM memory_space"),
    }
    assert counted["jobs"] == storm.stores, counted
    # Each store made one memory, and each memory is there or in the archive.
    assert counted["memories"] + counted["archived"] == storm.stores, counted
    assert counted["counted"] == counted["memories"], counted
    assert counted["archived"] == repeats(storm.stores), counted
    return counted
