"""The far end of the client's tests: a small Celery application that answers like a worker.

Its URL comes from FAR_END_URL. A job that runs waits for its test on the Redis list
``gate:<job id>``, so that nothing here depends on how fast anything is.
"""

import os
from typing import Any

import redis
from celery import Celery, Task
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from bespoke_schemas import Payload, Result
from bespoke_schemas.jobs import Cancel, Cancelled, Progress
from bespoke_schemas.memories import Count, Counted, Search, Store, Stored
from bespoke_schemas.optimization import Optimized, OptimizeUser
from bespoke_schemas.queues import Queue, members
from tests.nodes.waiting import SECONDS
from tests.nodes.worker import WorkerContainer

QUEUES = ",".join(name for family in Queue for name in members(family) if family != Queue.EXPORTS)

URL = os.environ.get("FAR_END_URL", "")
app = Celery("far_end", broker=URL, backend=URL, set_as_current=False)
app.conf.update(
    task_track_started=True,
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=True,
    broker_transport_options={"visibility_timeout": 30},
)


def far_end(url: str) -> WorkerContainer:
    """A worker of this application, not started yet."""
    return WorkerContainer(
        "tests.integration.client_far_end",
        environment={**os.environ, "FAR_END_URL": url},
        queues=QUEUES,
        concurrency=4,
        pool="threads",
    )


def open_gate(url: str, job_id: object, times: int = 1) -> None:
    """Let a job that waits go on, as many times as it will wait."""
    with redis.Redis.from_url(url) as connection:
        for _ in range(times):
            connection.rpush(f"gate:{job_id}", "go")


class FarEndRefusal(Exception):
    """What this worker's jobs fail with."""


def envelope(payload: Payload[Any], result: Result) -> dict[str, Any]:
    return {"task": payload.task, "result": result.model_dump(mode="json")}


@app.task(name=Store.task)
def store(payload: dict[str, Any]) -> dict[str, Any]:
    told = Store.model_validate(payload)
    if told.kind == "refused":
        raise FarEndRefusal("the kind 'refused' is not kept")
    result = Stored(memory_id=told.id, outcome="inserted", count=len(told.content))
    return envelope(told, result)


@app.task(name=Search.task)
def search(payload: dict[str, Any]) -> dict[str, Any]:
    return {"task": Search.task, "result": {"matches": "not a list"}}


@app.task(name=Count.task)
def count(payload: dict[str, Any]) -> dict[str, Any]:
    told = Count.model_validate(payload)
    return envelope(told, Counted(count=7))


@app.task(name=OptimizeUser.task, bind=True)
def optimize_user(self: Task[Any, Any], payload: dict[str, Any]) -> dict[str, Any]:
    told = OptimizeUser.model_validate(payload)
    # The tests restart Redis under a job that waits here.
    with redis.Redis.from_url(URL, retry=Retry(ConstantBackoff(0.1), int(10 * SECONDS))) as gate:
        for done in (1, 2):
            progress = Progress(step="trials", done=done, total=2, best_score=done / 4)
            content = {"task": told.task, "progress": progress.model_dump(mode="json")}
            self.update_state(state="PROGRESS", meta=content)
            gate.blpop([f"gate:{told.id}"], timeout=SECONDS)
    result = Optimized(
        user_id=told.user_id,
        program=told.program,
        examples=12,
        tier="basic",
        optimizer="LabeledFewShot",
        score_before=0.25,
        score_after=0.5,
        promoted=True,
        program_id=told.id,
        reason="better",
    )
    return envelope(told, result)


@app.task(name=Cancel.task)
def cancel(payload: dict[str, Any]) -> dict[str, Any]:
    told = Cancel.model_validate(payload)
    return envelope(told, Cancelled(cancelled=True, reason="the job had not been started"))
