"""Fifty users against a language model that takes 50 ms, ten at a time: wall time and ideal.

The ideal is the time that all calls take, one after another, divided by ``max_concurrent``: as if
each run made one call at a time and nothing but calls took time. A run makes up to four at once,
so on a machine with cores to spare the wall time may come below it.
"""

import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psutil

from benchmarks.bench import Figure, Servers, cpu_seconds, servers
from bespoke_client import Client, examples, optimization
from bespoke_workers.optimization.judging.judging import THREADS
from examples.support_desk.standin_lm import standin_process
from tests.integration.optimizing import MODULE, PROGRAM, lessons
from tests.nodes.worker import WorkerContainer

USERS, WARM_UP = 50, 20
EXAMPLES = 40  # of each: tier basic, twelve of them held out and asked twice
MAX_CONCURRENT = 10
LATENCY = timedelta(milliseconds=50)
PATIENCE_SECONDS = 300.0
NEAR = 1.5
"""Times the ideal, on two cores that also run the model's server, PostgreSQL and Redis."""


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    with (
        servers() as running,
        standin_process(LATENCY) as url,
        running.ready(_worker(running, url)) as (worker,),
        Client(running.redis.url) as client,
    ):
        _teach(client, WARM_UP)
        _optimize(client)  # processes import DSPy at their first run
        _teach(client, USERS)
        began, cpu, own = time.monotonic(), cpu_seconds(worker.children()), cpu_seconds(_own())
        before = psutil.cpu_times()
        summary = _optimize(client)
        wall = time.monotonic() - began
        cpu, own = cpu_seconds(worker.children()) - cpu, cpu_seconds(_own()) - own
        busy = _busy(psutil.cpu_times()) - _busy(before)
    taken = summary.lm_calls * LATENCY.total_seconds()
    ideal = taken / MAX_CONCURRENT
    yield Figure("LM calls of 50 users", summary.lm_calls, "")
    yield Figure("50 users, 10 at a time, LM of 50 ms", wall, "s")
    yield Figure("LM time / max_concurrent", ideal, "s")
    yield Figure("LM time / threads of 10 runs", ideal / THREADS, "s")
    yield Figure("CPU of workers for each LM call", 1e3 * cpu / summary.lm_calls, "ms")
    yield Figure("CPU of all that the batch needs", own, "s")
    yield Figure("all CPU of this machine meanwhile", busy, "s")
    yield Figure("wall time / ideal", wall / ideal, "x", asked=NEAR, at_most=True)


def _own() -> list[psutil.Process]:
    """Return this process and all that it started: workers, servers, the model's server."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _busy(times: Any) -> float:
    """Return how long cores have worked, for whomever."""
    return float(sum(times) - times.idle - times.iowait)


def _worker(running: Servers, lm_url: str) -> WorkerContainer:
    return WorkerContainer(
        "bespoke_workers",
        environment={
            **os.environ,
            "BESPOKE_HOME": str(running.home),
            "BESPOKE_DATABASE_URL": running.postgres.url,
            "BESPOKE_BROKER_URL": running.redis.url,
            "BESPOKE_PROGRAMS": MODULE,
            "BESPOKE_LM": "openai/standin",
            "BESPOKE_LM_API_BASE": lm_url,
            "BESPOKE_LM_API_KEY": "a key of no value",
        },
        queues="programs,optimization",
        concurrency=MAX_CONCURRENT,
        log_level="WARNING",
    )


def _teach(client: Client, users: int) -> None:
    """Give new users their examples."""
    added = [
        examples.AddMany(
            user_id=f"{number}-of-{users}", program=PROGRAM, examples=lessons(EXAMPLES)
        )
        for number in range(users)
    ]
    for job in client.enqueue_many(added):
        job.result(PATIENCE_SECONDS)


def _optimize(client: Client) -> optimization.BatchSummary:
    """Optimize those who have something new."""
    asked = optimization.OptimizeTier(program=PROGRAM, tier="basic", max_concurrent=MAX_CONCURRENT)
    return client.enqueue(asked).result(PATIENCE_SECONDS)


def main() -> int:
    """Measure, and print it."""
    figures = list(measure())
    for figure in figures:
        print(f"{figure.name:45} {figure.value:>10.2f} {figure.unit}")
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
