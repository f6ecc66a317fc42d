"""Real workers over the transport lose nothing, whoever is killed."""

import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis
from celery import Celery

from bespoke_workers.local import LocalRedis
from tests.nodes.process import ProcessContainer
from tests.nodes.waiting import SECONDS, wait_until
from tests.nodes.worker import WorkerContainer

APP = "tests.integration.claiming_app"
QUICK = {"visibility_timeout": 1, "unacked_restore_interval": 0.3}
PATIENT = {"visibility_timeout": 60, "unacked_restore_interval": 30}
LONGER = 3  # seconds of a timeout that no stall of a busy machine outlasts
KILLS = 40
TASKS = 1200

StartClaimer = Callable[..., WorkerContainer]


@pytest.fixture
def store(broker_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(broker_url) as client:
        yield client


@pytest.fixture
def app(broker_url: str) -> Iterator[Celery]:
    """The producer's side of the application, on the stock transport."""
    with Celery("claiming", broker=broker_url, set_as_current=False) as producer:
        producer.conf.task_default_queue = "q"
        yield producer


def environment(broker_url: str, options: dict[str, Any]) -> dict[str, str]:
    return {
        **os.environ,
        "CLAIMING_BROKER": broker_url,
        "CLAIMING_OPTIONS": json.dumps(options),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def start(broker_url: str) -> Iterator[StartClaimer]:
    workers: list[WorkerContainer] = []

    def run(
        *arguments: str, concurrency: int = 2, pool: str = "prefork", **options: Any
    ) -> WorkerContainer:
        worker = WorkerContainer(
            APP,
            environment=environment(broker_url, {**QUICK, **options}),
            queues="q",
            concurrency=concurrency,
            pool=pool,
            arguments=arguments,
            preloaded=True,
        )
        workers.append(worker)
        worker.ready()
        return worker

    yield run
    for worker in workers:
        worker.teardown()


def send(app: Celery, name: str, *calls: tuple[Any, ...]) -> None:
    with app.producer_or_acquire() as producer:
        for call in calls:
            app.send_task(f"claiming.{name}", call, task_id=str(call[0]), producer=producer)


def ran(store: Any, key: str = "ran") -> Counter[int]:
    return Counter({int(number): int(times) for number, times in store.hgetall(key).items()})


def nowhere(store: Any) -> set[int]:
    """The tasks that are neither queued nor recorded nor done, at one moment; must be none."""
    with store.pipeline(transaction=True) as pipe:
        queued, entries, done = pipe.lrange("q", 0, -1).hvals("unacked").hkeys("ran").execute()
    held = [json.loads(entry)[0] for entry in entries]
    tasks = [int(message["headers"]["id"]) for message in [*map(json.loads, queued), *held]]
    assert len(tasks) == len(set(tasks)), "a message is in two places"
    return set(range(TASKS)) - set(tasks) - {int(number) for number in done}


def done_at_least(store: Any, count: int) -> bool:
    return int(store.hlen("ran")) >= count


def settled(store: Any) -> bool:
    return not (store.llen("q") or store.hlen("unacked") or store.zcard("unacked_index"))


def test_no_kill_of_a_busy_worker_loses_a_message(broker_url: str, store: Any, app: Celery) -> None:
    send(app, "count", *[(number,) for number in range(TASKS)])
    breeder = ProcessContainer(
        "breeder",
        [sys.executable, "-m", APP],
        environment=environment(broker_url, QUICK),
    )

    def bred() -> list[str]:
        return re.findall(r"worker (\d+)", breeder.logs())

    def has_bred(count: int) -> bool:
        return len(bred()) >= count

    breeder.start()
    try:
        for kill in range(1, KILLS + 1):
            goal = min(kill * TASKS // (KILLS + 5), TASKS)
            wait_until(partial(done_at_least, store, goal), f"{goal} tasks done")
            # Before that, the last one in the log is the one that is dead.
            wait_until(partial(has_bred, kill), f"worker {kill} is born")
            os.kill(int(bred()[-1]), signal.SIGKILL)
            if kill % 8 == 0:
                assert nowhere(store) == set()
        wait_until(lambda: len(ran(store)) == TASKS and settled(store), "every task done")
    finally:
        breeder.teardown()

    assert set(ran(store)) == set(range(TASKS))


def test_a_task_longer_than_the_timeout_runs_once(
    store: Any, app: Celery, start: StartClaimer
) -> None:
    start(visibility_timeout=LONGER)
    start(visibility_timeout=LONGER)
    send(app, "hold", (1, 1.5 * LONGER))

    wait_until(lambda: ran(store)[1] and settled(store), "the long task done")

    assert ran(store, "started") == {1: 1}


def test_a_task_longer_than_the_timeout_runs_once_in_the_loop_too(
    store: Any, app: Celery, start: StartClaimer
) -> None:
    start(pool="solo", tasks_in_loop=True, visibility_timeout=LONGER)
    start(pool="solo", tasks_in_loop=True, visibility_timeout=LONGER)
    send(app, "hold", (1, 1.5 * LONGER))

    wait_until(lambda: ran(store)[1] and settled(store), "the long task done")

    assert ran(store, "started") == {1: 1}


def test_what_waits_behind_a_long_task_in_the_loop_is_done_by_another_or_revoked(
    store: Any, app: Celery, start: StartClaimer
) -> None:
    app.conf.broker_transport = "bespoke_workers.transport:Transport"
    send(app, "hold", (1, 60), (2, 60))
    send(app, "count", (3,))
    busy = {"pool": "solo", "tasks_in_loop": True, "member_timeout": 0.5, **PATIENT}
    start(**busy)
    wait_until(lambda: store.llen("q") == 2, "handed back what has not begun")
    app.control.revoke("2")

    start(**busy)
    app.control.revoke("2")
    wait_until(lambda: ran(store)[3] or ran(store, "started")[2], "the other has work")
    store.lpush("gate", 1, 2)

    wait_until(lambda: ran(store)[1] and ran(store)[3] and settled(store), "all settled")
    assert ran(store, "started")[1] == 1


def test_what_a_dead_worker_had_comes_back(store: Any, app: Celery, start: StartClaimer) -> None:
    dead = start()
    send(app, "hold", *[(number, 60) for number in range(6)])
    wait_until(lambda: len(ran(store, "started")) == 2, "two started")
    dead.kill_group()

    start()
    send(app, "count", (6,))
    store.lpush("gate", *range(10))

    wait_until(lambda: len(ran(store)) == 7 and settled(store), "all done")


def test_a_warm_shutdown_returns_what_was_not_started(
    store: Any, app: Celery, start: StartClaimer
) -> None:
    worker = start("-Ofair", **PATIENT)
    send(app, "hold", *[(number, 60) for number in range(6)])
    wait_until(lambda: len(ran(store, "started")) == 2, "two started")
    worker.kill("SIGTERM")
    worker.wait_for_log("Warm shutdown")
    store.lpush("gate", *range(20))

    worker.wait()

    assert len(ran(store)) + store.llen("q") == 6
    assert store.hlen("unacked") == store.zcard("unacked_index") == 0


def test_a_worker_goes_on_after_redis_was_killed(
    redis_server: LocalRedis, store: Any, app: Celery, start: StartClaimer
) -> None:
    worker = start()
    send(app, "count", (1,))
    wait_until(lambda: ran(store)[1], "the first done")

    redis_server.kill()
    worker.wait_for_log("Connection refused")
    redis_server.start()
    send(app, "count", (2,))

    wait_until(lambda: ran(store)[2] and settled(store), "the second done")
    assert worker.status == "running"


def test_remote_control_works(app: Celery, store: Any, start: StartClaimer) -> None:
    start(concurrency=1, **PATIENT)
    app.conf.broker_transport = "bespoke_workers.transport:Transport"
    send(app, "hold", (1, 60), (2, 60))
    wait_until(lambda: ran(store, "started")[1], "the first started")

    inspect: Any = app.control.inspect(timeout=SECONDS, limit=1)
    (active,) = inspect.active().values()
    assert [task["id"] for task in active] == ["1"]
    assert [*inspect.ping().values()] == [{"ok": "pong"}]
    (stats,) = inspect.stats().values()
    assert stats["broker"]["transport"] == "redis"

    app.control.revoke("2", reply=True, timeout=SECONDS, limit=1)
    store.lpush("gate", 1)
    wait_until(lambda: settled(store), "both settled")
    assert ran(store) == {1: 1}
