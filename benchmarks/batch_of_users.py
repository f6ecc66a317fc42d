"""A batch of many users with an optimizer that costs next to nothing, so that the rest shows.

A worker plans; another one of two processes runs LabeledFewShot on a program that asks no
language model, and before that, through the same queue, tasks of Celery that do nothing.
``python -m benchmarks.batch_of_users --users 10000`` is what `make bench-batches` does.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import redis
from pydantic import SecretStr

from benchmarks import trivial
from benchmarks.bench import Figure, Servers, cpu_seconds, servers
from benchmarks.tasks import NOTHING
from bespoke_client import Client, optimization
from bespoke_schemas.queues import OPTIMIZATION_RUNS
from bespoke_workers.app import make_celery
from bespoke_workers.keys import UNACKED
from bespoke_workers.settings import Settings
from tests.nodes.worker import WorkerContainer

USERS = 10_000
EXAMPLES = 12  # of each: tier basic, LabeledFewShot
MAX_CONCURRENT = 20
PROCESSES = 2
NOTHINGS = 5_000
WARM_UP = 50  # users of another batch, before: processes import DSPy at their first run
LOOK_SECONDS = 0.25
PATIENCE_SECONDS = 3_600.0
ASIDE = 1
"""The database of the Redis in which messages are made that do nothing."""
KIB, MIB = 2**10, 2**20
IN_FLIGHT = "SELECT count(*) FROM optimization_job WHERE state IN ('queued', 'running')"
TAUGHT = """
WITH taught AS (
    INSERT INTO learner (user_id, program, example_count, added_total)
    SELECT $4 || lpad(n::text, 9, '0'), $1, $3, $3 FROM generate_series(1, $2) n
    RETURNING user_id
), given AS (
    INSERT INTO example (id, user_id, program, position, fields, digest)
    SELECT gen_random_uuid(), user_id, $1, e,
        jsonb_build_object('text', 'message ' || e, 'label', 'yes'), e::text
    FROM taught, generate_series(1, $3) e RETURNING 1
)
SELECT count(*) FROM given
"""
WRITTEN = """
SELECT array[xact_commit, tup_inserted, tup_updated]::bigint[]
    || (pg_current_wal_lsn() - '0/0')::bigint
FROM pg_stat_database WHERE datname = current_database()
"""


@dataclass
class Watched:
    """What was seen while a batch ran."""

    planned_s: float = 0.0
    seconds: float = 0.0
    in_flight: int = 0
    messages: int = 0
    planner_bytes: int = 0
    runner_bytes: int = 0
    runner_cpu_s: float = 0.0
    redis_bytes: int = 0
    written: list[float] = field(default_factory=list)


def measure(users: int = USERS) -> Iterator[Figure]:
    """Yield the figures."""
    with servers() as running:
        planner, runner = _workers(running)
        with running.ready(planner, runner):
            running.ask(TAUGHT, trivial.NAME, WARM_UP, EXAMPLES, "warm-")
            _optimize(running, WARM_UP, planner, runner)
            nothings = _nothings(running)
            running.ask("DELETE FROM learner")
            running.ask("DELETE FROM example")
            running.ask(TAUGHT, trivial.NAME, users, EXAMPLES, "user-")
            running.ask("ANALYZE")
            seen = _optimize(running, users, planner, runner)
    rate = users / seen.seconds
    yield Figure(f"users planned per second, of {users:,}", users / seen.planned_s, "1/s")
    yield Figure("runs in flight at most", seen.in_flight, "", MAX_CONCURRENT, at_most=True)
    yield Figure("messages of runs at most", seen.messages, "", MAX_CONCURRENT, at_most=True)
    yield Figure("users optimized per second", rate, "1/s")
    yield Figure("Celery's no-ops per second, same workers", nothings, "1/s")
    yield Figure("users optimized / no-ops", rate / nothings, "x")
    yield Figure("CPU of a run", 1e3 * seen.runner_cpu_s / users, "ms")
    yield Figure("planner", seen.planner_bytes / MIB, "MiB")
    yield Figure("runner, each process", seen.runner_bytes / MIB, "MiB")
    yield Figure("Redis", seen.redis_bytes / MIB, "MiB")
    commits, inserted, updated, wal = (one / users for one in seen.written)
    yield Figure("transactions for each user", commits, "")
    yield Figure("rows inserted for each user", inserted, "")
    yield Figure("rows updated for each user", updated, "")
    yield Figure("WAL for each user", wal / KIB, "KiB")


def _workers(running: Servers) -> tuple[WorkerContainer, WorkerContainer]:
    environment = {
        **os.environ,
        "BESPOKE_HOME": str(running.home),
        "BESPOKE_DATABASE_URL": running.postgres.url,
        "BESPOKE_BROKER_URL": running.redis.url,
        "BESPOKE_PROGRAMS": trivial.MODULE,
        "BESPOKE_LM": "openai/never-called",
    }
    planner = WorkerContainer(
        "bespoke_workers",
        environment=environment,
        queues="optimization,upkeep",
        pool="solo",
        arguments=("--exclude-queues", OPTIMIZATION_RUNS),
        log_level="WARNING",
    )
    runner = WorkerContainer(
        "bespoke_workers",
        environment=environment,
        queues=OPTIMIZATION_RUNS,
        concurrency=PROCESSES,
        arguments=("--include", "benchmarks.tasks"),
        log_level="WARNING",
    )
    return planner, runner


def _optimize(
    running: Servers, users: int, planner: WorkerContainer, runner: WorkerContainer
) -> Watched:
    """Have every user optimized, and look on."""
    seen = Watched()
    before, cpu = running.ask(WRITTEN), cpu_seconds(runner.children())
    with Client(running.redis.url) as client, redis.Redis.from_url(running.redis.url) as known:
        began = time.monotonic()
        asked = optimization.OptimizeTier(
            program=trivial.NAME, tier="basic", max_concurrent=MAX_CONCURRENT
        )
        job = client.enqueue(asked)
        while not job.status().final:
            assert time.monotonic() < began + PATIENCE_SECONDS, "the batch does not end in time"
            _look(running, known, planner, runner, seen)
            state = running.ask("SELECT state FROM batch WHERE id = $1", job.id)
            if not seen.planned_s and state not in (None, "planning"):
                seen.planned_s = time.monotonic() - began
            time.sleep(LOOK_SECONDS if seen.planned_s else 0.0)
        summary = job.result(PATIENCE_SECONDS)
    assert (summary.eligible, summary.promoted) == (users, users), "not every user was optimized"
    seen.runner_cpu_s = cpu_seconds(runner.children()) - cpu
    seen.seconds = running.ask(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 "
        "FROM optimization_job WHERE batch_id = $1",
        asked.id,
    )
    after = running.ask(WRITTEN)
    seen.written = [late - early for early, late in zip(before, after, strict=True)]
    return seen


def _look(
    running: Servers,
    known: "redis.Redis",
    planner: WorkerContainer,
    runner: WorkerContainer,
    seen: Watched,
) -> None:
    """Keep the most that there is at once of everything."""
    waiting = int(known.llen(OPTIMIZATION_RUNS))
    seen.in_flight = max(seen.in_flight, running.count(IN_FLIGHT))
    seen.messages = max(seen.messages, waiting)
    seen.redis_bytes = max(seen.redis_bytes, int(known.info("memory")["used_memory"]))
    seen.planner_bytes = max(seen.planner_bytes, psutil.Process(planner.pid).memory_info().rss)
    children = [child.memory_info().rss for child in runner.children()]
    seen.runner_bytes = max(seen.runner_bytes, *children)


def _nothings(running: Servers) -> float:
    """Return how many tasks a second the runner does that do nothing."""
    aside = running.redis.url_for(ASIDE)
    app = make_celery(lambda: Settings(broker_url=SecretStr(aside)))
    with app.producer_pool.acquire() as producer, producer.batch():  # type: ignore[attr-defined]  # newer than celery-types
        for _ in range(NOTHINGS):
            app.send_task(NOTHING, queue=OPTIMIZATION_RUNS, producer=producer, ignore_result=True)
    with redis.Redis.from_url(running.redis.url) as known, redis.Redis.from_url(aside) as made:
        began = time.monotonic()
        assert made.move(OPTIMIZATION_RUNS, 0), "the queue was not empty"
        while known.llen(OPTIMIZATION_RUNS) or known.hlen(UNACKED):
            assert time.monotonic() < began + PATIENCE_SECONDS, "they are not done in time"
            time.sleep(0.02)
        return NOTHINGS / (time.monotonic() - began)


def main() -> int:
    """Measure with as many users as the command line says, and print it."""
    parser = argparse.ArgumentParser(prog="batch_of_users")
    parser.add_argument("--users", type=int, default=USERS)
    chosen = parser.parse_args()
    figures = list(measure(chosen.users))
    for figure in figures:
        print(f"{figure.name:45} {figure.value:>10.2f} {figure.unit}")
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
