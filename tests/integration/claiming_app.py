"""A small Celery application over the transport, for processes that tests kill.

`CLAIMING_BROKER` is its broker, `CLAIMING_OPTIONS` the transport options as JSON. Run as a module
it is a breeder: it forks a worker (pool solo), and the next one as soon as that is dead; each is
named on standard output by its process id.
"""

import json
import os
import signal
import sys
from typing import Any

import celery.apps.worker
import celery.concurrency.solo
import celery.worker.components
import celery.worker.consumer  # noqa: F401  # all four: so that no forked worker need import them
import redis
from celery import Celery

OPTIONS = json.loads(os.environ.get("CLAIMING_OPTIONS", "{}"))
STORE = redis.Redis.from_url(os.environ["CLAIMING_BROKER"], socket_timeout=None)
QUIET: dict[str, Any] = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}

app = Celery("claiming", broker=os.environ["CLAIMING_BROKER"])
app.conf.update(
    broker_transport="bespoke_workers.transport:Transport",
    broker_transport_options=OPTIONS,
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_default_queue="q",
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=True,
    worker_prefetch_multiplier=8,
)


@app.task(name="claiming.count")
def count(number: int) -> None:
    """Count how often `number` ran, in the hash `ran`."""
    STORE.hincrby("ran", str(number), 1)


@app.task(name="claiming.hold")
def hold(number: int, seconds: float) -> None:
    """Count a start in `started`; end after `seconds`, or when the list `gate` has an element."""
    STORE.hincrby("started", str(number), 1)
    STORE.blpop(["gate"], timeout=seconds)
    STORE.hincrby("ran", str(number), 1)


def breed() -> None:
    """Fork workers, one after another, until killed."""
    app.connection().transport  # noqa: B018  # imported once, before the forks
    while True:
        child = os.fork()
        if child == 0:
            app.Worker(pool="solo", loglevel="WARNING", **QUIET).start()
            os._exit(0)
        sys.stdout.write(f"worker {child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    breed()
