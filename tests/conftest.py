"""What every test may ask for: private servers, fresh databases, real workers.

Nothing is shared with the machine: no setting of its environment is seen, the default ports 5432
and 6379 are never touched, and all that is started here is stopped here.
"""

import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest
import redis
from pytest_celery import CeleryBackendCluster, CeleryBrokerCluster, CeleryWorkerCluster

from bespoke_workers.database import migrate
from bespoke_workers.local import LocalPostgres, LocalRedis
from tests.databases import Databases
from tests.nodes.backend import ProcessBackend
from tests.nodes.broker import ProcessBroker
from tests.nodes.server import ServerContainer
from tests.nodes.worker import ProcessWorker, WorkerContainer

TEMPLATE = "template_bespoke"
FOREIGN = ("BESPOKE_", "CELERY_", "PG", "REDIS_")
LOGICAL_DATABASES = itertools.cycle(range(1, 16))
EVERY_QUEUE = "memories,reads,programs,optimization,finetuning,exports,upkeep"
HERMETIC_HOME = pytest.StashKey[Path]()

# The same draws in each run, however slow the machine; --hypothesis-profile=default draws others.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


def pytest_configure(config: pytest.Config) -> None:
    """Shut the machine's settings out before any test module is imported."""
    hypothesis.settings.load_profile("repeatable")
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            del os.environ[name]
    home = Path(tempfile.mkdtemp(prefix="bespoke-tests-"))
    config.stash[HERMETIC_HOME] = home
    os.environ["BESPOKE_HOME"] = str(home / "bespoke")
    os.environ["DSPY_CACHEDIR"] = str(home / "dspy")
    # gcsfs reads it when it is imported; else it asks Google what kind of bucket it has.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    # Written down once; else each of hundreds of processes compiles what it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    # Whoever runs the tests in the background has had Ctrl-C ignored, for all that they start too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what tests left in the home made above."""
    shutil.rmtree(config.stash[HERMETIC_HOME], ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_process() -> Iterator[LocalPostgres]:
    """The session's PostgreSQL; a test may have killed it, so ask for `postgres_server`.

    Not under pytest's own directory, which another session closes to the server's account.
    """
    with tempfile.TemporaryDirectory(prefix="bespoke-tests-") as directory:
        server = LocalPostgres(Path(directory), durable=False)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRedis]:
    """The session's Redis; a test may have killed it, so ask for `redis_server`."""
    server = LocalRedis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres_server(postgres_process: LocalPostgres) -> LocalPostgres:
    """A running PostgreSQL that the test may kill and restart."""
    postgres_process.start()
    return postgres_process


@pytest.fixture
def redis_server(redis_process: LocalRedis) -> LocalRedis:
    """A running Redis that the test may kill and restart."""
    redis_process.start()
    return redis_process


@pytest.fixture(scope="session")
def databases(postgres_process: LocalPostgres) -> Iterator[Databases]:
    """What makes and drops databases on the session's PostgreSQL."""
    made = Databases(postgres_process)
    yield made
    made.close()


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database of this test's own with nothing in it, for migrations."""
    with databases.made() as url:
        yield url


@pytest.fixture(scope="session")
def template_database(databases: Databases, postgres_process: LocalPostgres) -> str:
    """The name of a migrated database with no rows, to be copied."""
    databases.administer(f"CREATE DATABASE {TEMPLATE}")
    migrate.upgrade(postgres_process.url_for(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(databases: Databases, template_database: str) -> Iterator[str]:
    """A migrated, empty database of this test's own."""
    with databases.made(template_database) as url:
        yield url


@pytest.fixture
def other_database_url(databases: Databases, template_database: str) -> Iterator[str]:
    """Another one, for a test of two installations."""
    with databases.made(template_database) as url:
        yield url


@pytest.fixture
def broker_url(redis_server: LocalRedis) -> str:
    """A logical Redis database with nothing in it, for messages and results."""
    url = redis_server.url_for(next(LOGICAL_DATABASES))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def bespoke_env(database_url: str, broker_url: str, tmp_path: Path) -> dict[str, str]:
    """The whole environment for a process of Bespoke: this test's servers, a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        **os.environ,
        "HOME": str(home),
        "BESPOKE_HOME": str(home / "bespoke"),
        "BESPOKE_DATABASE_URL": database_url,
        "BESPOKE_BROKER_URL": broker_url,
        "BESPOKE_RESULT_URL": broker_url,
        "PYTHONUNBUFFERED": "1",
    }


class StartWorker(Protocol):
    """The signature of the fixture `start_worker`."""

    def __call__(
        self,
        queues: str = EVERY_QUEUE,
        *,
        concurrency: int = 2,
        pool: str = "prefork",
        env: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> WorkerContainer: ...


@pytest.fixture
def start_worker(bespoke_env: dict[str, str]) -> Iterator[StartWorker]:
    """Start `celery -A bespoke_workers worker` and wait until it is ready; killed at the end.

    `env` is laid over `bespoke_env`. May be called several times in a test.
    """
    workers: list[WorkerContainer] = []

    def start(
        queues: str = EVERY_QUEUE,
        *,
        concurrency: int = 2,
        pool: str = "prefork",
        env: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> WorkerContainer:
        worker = WorkerContainer(
            "bespoke_workers",
            environment={**bespoke_env, **(env or {})},
            queues=queues,
            concurrency=concurrency,
            pool=pool,
            arguments=arguments,
            preloaded=True,
        )
        workers.append(worker)
        worker.ready()
        return worker

    yield start
    for worker in workers:
        worker.teardown()


@pytest.fixture
def celery_broker_cluster(
    redis_server: LocalRedis, broker_url: str
) -> Iterator[CeleryBrokerCluster]:
    """pytest-celery's brokers: this session's Redis."""
    node = ProcessBroker(ServerContainer(redis_server, broker_url))
    yield CeleryBrokerCluster(node)
    node.teardown()


@pytest.fixture
def celery_backend_cluster(
    redis_server: LocalRedis, broker_url: str
) -> Iterator[CeleryBackendCluster]:
    """pytest-celery's result backends: this session's Redis."""
    node = ProcessBackend(ServerContainer(redis_server, broker_url))
    yield CeleryBackendCluster(node)
    node.teardown()


@pytest.fixture
def celery_worker_cluster(start_worker: StartWorker) -> CeleryWorkerCluster:
    """pytest-celery's workers: one of Bespoke's, on every queue."""
    return CeleryWorkerCluster(ProcessWorker(start_worker(), app=None))
