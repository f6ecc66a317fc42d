"""Progress stands where the client looks until the job has ended, and never after that."""

from typing import Any
from uuid import UUID

import pytest
import redis
from celery import Celery

from bespoke_client.state import State, decode
from bespoke_schemas import uuid7
from bespoke_schemas.jobs import Progress, Status
from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers import progress
from bespoke_workers.errors import Cancelled

PROGRESS = Progress(step="trials", done=1, total=2)
TOLD = {"task": OptimizeUser.task, "progress": PROGRESS.model_dump(mode="json")}


@pytest.fixture
def backend(broker_url: str) -> Any:
    return Celery("told", backend=broker_url, set_as_current=False).backend


def seen(backend: Any, job_id: UUID) -> State:
    """Return what a client sees of a job."""
    return decode(job_id, backend.client.get(backend.get_key_for_task(str(job_id))))


def test_progress_is_seen_and_whoever_watches_is_told(backend: Any, broker_url: str) -> None:
    job_id = uuid7()
    with redis.Redis.from_url(broker_url) as watching, watching.pubsub() as channel:
        channel.subscribe(backend.get_key_for_task(str(job_id)))
        assert channel.get_message(timeout=10) is not None
        progress.tell(backend, str(job_id), TOLD)
        told = channel.get_message(timeout=10)
    assert told is not None
    assert decode(job_id, told["data"]) == seen(backend, job_id)
    assert seen(backend, job_id).progress == PROGRESS
    assert backend.client.ttl(backend.get_key_for_task(str(job_id))) > 0


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # Celery's own
@pytest.mark.parametrize(
    ("state", "result", "status"),
    [
        ("SUCCESS", {"task": OptimizeUser.task, "result": {}}, Status.SUCCEEDED),
        ("FAILURE", ValueError("no"), Status.FAILED),
        ("FAILURE", Cancelled("cancelled while it ran"), Status.CANCELLED),
    ],
)
@pytest.mark.parametrize("at", ["before", "between the look and the write"])
def test_progress_that_is_told_late_leaves_the_end_alone(
    backend: Any, monkeypatch: pytest.MonkeyPatch, at: str, state: str, result: Any, status: Status
) -> None:
    job_id = uuid7()
    progress.tell(backend, str(job_id), TOLD)
    ends = [lambda: backend.store_result(str(job_id), result, state)]
    if at == "before":
        ends.pop()()
    look = backend.decode

    def looked(entry: Any) -> Any:
        found = look(entry)
        if ends:
            ends.pop()()
        return found

    monkeypatch.setattr(backend, "decode", looked)
    progress.tell(backend, str(job_id), TOLD)
    assert seen(backend, job_id).status is status
