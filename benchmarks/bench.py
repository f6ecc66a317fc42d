"""What every benchmark shares: a figure, private servers, a worker, and counting."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from celery import Celery
from pydantic import SecretStr

from bespoke_workers.app import make_celery
from bespoke_workers.database import migrate
from bespoke_workers.local import LocalPostgres, LocalRedis
from bespoke_workers.settings import Settings
from tests.nodes.waiting import wait_until
from tests.nodes.worker import WorkerContainer


@dataclass(frozen=True)
class Figure:
    """One measured figure; ``asked`` None means that nothing in particular is asked of it."""

    name: str
    value: float
    unit: str
    asked: float | None = None
    at_most: bool = False

    @property
    def ok(self) -> bool:
        """Whether the figure is what is asked of it."""
        if self.asked is None:
            return True
        return self.value <= self.asked if self.at_most else self.value >= self.asked


@dataclass(frozen=True)
class Servers:
    """A private, migrated PostgreSQL and a private Redis."""

    home: Path
    postgres: LocalPostgres
    redis: LocalRedis

    def ask(self, query: str, *arguments: object) -> Any:
        """Run a query and return the one value that it answers with."""

        async def run() -> Any:
            connection = await asyncpg.connect(self.postgres.url.replace("+asyncpg", ""))
            try:
                return await connection.fetchval(query, *arguments)
            finally:
                await connection.close()

        return asyncio.run(run())

    def count(self, query: str) -> int:
        """Run a query that answers with one number."""
        return int(self.ask(query))

    def worker(self, queues: str, **settings: str) -> WorkerContainer:
        """Return a worker of one process, which runs its tasks itself; not started."""
        return WorkerContainer(
            "bespoke_workers",
            environment={
                **os.environ,
                "BESPOKE_HOME": str(self.home),
                "BESPOKE_DATABASE_URL": self.postgres.url,
                "BESPOKE_BROKER_URL": self.redis.url,
                **settings,
            },
            queues=queues,
            pool="solo",
            arguments=("--include", "benchmarks.tasks"),
            log_level="WARNING",  # Celery's own default
        )

    def app(self) -> Celery:
        """Return a Celery application on these servers."""
        config = Settings(
            broker_url=SecretStr(self.redis.url), database_url=SecretStr(self.postgres.url)
        )
        return make_celery(lambda: config)

    @contextlib.contextmanager
    def ready(self, *workers: WorkerContainer) -> Iterator[tuple[WorkerContainer, ...]]:
        """Run workers, from when all of them answer."""
        try:
            for worker in workers:
                worker.start()
            inspect = self.app().control.inspect(timeout=0.5)
            wait_until(lambda: len(inspect.ping() or {}) == len(workers), "the workers answer")
            yield workers
        finally:
            for worker in workers:
                worker.teardown()


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the processor time that processes have taken so far, in all."""
    times = [each.cpu_times() for each in processes]
    return sum(one.user + one.system for one in times)


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Run private servers for one benchmark."""
    with tempfile.TemporaryDirectory(prefix="bespoke-bench-") as directory:
        home = Path(directory)
        running = Servers(
            home, LocalPostgres(home / "postgres", durable=False), LocalRedis(home / "redis")
        )
        try:
            running.postgres.start()
            running.redis.start()
            migrate.upgrade(running.postgres.url)
            yield running
        finally:
            running.redis.stop()
            running.postgres.stop()
