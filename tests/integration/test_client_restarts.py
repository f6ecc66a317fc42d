"""Waiting for a job while Redis goes away and comes back."""

import threading
from collections.abc import Iterator

import pytest

from bespoke_client import Client, optimization
from bespoke_workers.local import LocalRedis
from tests.integration.client_far_end import far_end, open_gate
from tests.nodes.waiting import SECONDS


@pytest.fixture(autouse=True)
def _worker(broker_url: str) -> Iterator[None]:
    worker = far_end(broker_url)
    worker.ready()
    yield
    worker.teardown()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_wait_outlasts_a_restart_of_redis(
    broker_url: str, redis_server: LocalRedis, end: str
) -> None:
    with Client(broker_url) as client:
        job = client.enqueue(optimization.OptimizeUser(user_id="ada", program="support"))
        watched = job.watch()
        next(watched)  # the job runs, and its message is out of the queue
        results: list[optimization.Optimized] = []
        waiter = threading.Thread(target=lambda: results.append(job.result(timeout=SECONDS)))
        waiter.start()
        getattr(redis_server, end)()
        redis_server.start()
        # Whoever does the job anew after the restart passes the gate too.
        open_gate(broker_url, job.id, times=8)
        waiter.join(2 * SECONDS)
    assert [result.promoted for result in results] == [True]
