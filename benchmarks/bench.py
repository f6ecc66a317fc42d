"""What every benchmark shares: a figure, private servers, a worker, and counting."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bespoke_workers.database import migrate
from bespoke_workers.local import LocalPostgres, LocalRedis
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

    def count(self, query: str) -> int:
        """Run a query that answers with one number."""

        async def ask() -> int:
            connection = await asyncpg.connect(self.postgres.url.replace("+asyncpg", ""))
            try:
                return int(await connection.fetchval(query))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def worker(self, queues: str, **settings: str) -> WorkerContainer:
        """Return a worker with two processes, not started."""
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
            concurrency=2,
            arguments=("--include", "benchmarks.tasks"),
        )


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Run private servers for one benchmark."""
    with tempfile.TemporaryDirectory(prefix="bespoke-bench-") as directory:
        home = Path(directory)
        running = Servers(home, LocalPostgres(home / "postgres"), LocalRedis(home / "redis"))
        try:
            running.postgres.start()
            running.redis.start()
            migrate.upgrade(running.postgres.url)
            yield running
        finally:
            running.redis.stop()
            running.postgres.stop()


@contextlib.contextmanager
def ready(worker: WorkerContainer) -> Iterator[WorkerContainer]:
    """Run a worker."""
    try:
        worker.ready()
        yield worker
    finally:
        worker.teardown()
