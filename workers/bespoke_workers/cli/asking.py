"""Asking for a job through the queue as an application does, and waiting for its answer.

The workers cannot import the client, so this sends through the Celery application and reads
its result backend. Celery is imported by the functions: it takes most of a second.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from bespoke_schemas import Payload
from bespoke_schemas.jobs import Progress
from bespoke_schemas.optimization import FINETUNES
from bespoke_schemas.queues import OPTIMIZATION_RUNS, Queue, queue_name
from bespoke_workers import errors
from bespoke_workers.cli import preflight
from bespoke_workers.settings import Settings

WAIT_SECONDS = 60.0
"""How long a short job is waited for; one that tells its progress is waited for to its end."""
LONG = frozenset({Queue.OPTIMIZATION, Queue.EXPORTS})
"""Queues whose jobs may take hours: by themselves they are waited for without a limit."""
FIRST_LOOK_SECONDS = 0.01
LONGEST_LOOK_SECONDS = 0.25
UNSERVED_SECONDS = 3.0
"""A job that nobody has begun by then may be one that no worker consumes."""
OUTAGE_SECONDS = 10.0
"""For so long, Redis may be away while a job is waited for."""


class JobEnded(errors.BespokeError):
    """A job ended without an answer; the text is the worker's reason."""


class NotAnswered(errors.BespokeError):
    """The waiting ended and the job did not."""

    def __init__(self, job_id: UUID, why: str) -> None:
        super().__init__(f"{why}; job {job_id} has not ended: {how_to_find(job_id)}")


class NotServed(errors.BespokeError):
    """No worker takes the job."""

    def __init__(self, job_id: UUID, queues: list[str]) -> None:
        names = ", ".join(repr(name) for name in queues)
        super().__init__(
            f"no worker consumes {names}; run `bespoke worker` (job {job_id} waits for one)"
        )


@dataclass(frozen=True)
class Look:
    """One look at a job. ``answer`` is its result as JSON, once it has one."""

    state: str
    task: str | None = None
    progress: Progress | None = None
    answer: dict[str, Any] | None = None
    reason: str = ""


Tell = Callable[[Look], None]


def how_to_find(job_id: UUID) -> str:
    """Say how to go on waiting for a job, and how to stop it."""
    return f"`bespoke jobs watch {job_id}` waits for it, `bespoke jobs cancel {job_id}` stops it"


def prepare(config: Settings) -> None:
    """Do what can be done before a job is in its queue. Raises Misconfigured or Transient."""
    preflight.check_broker(config)
    import bespoke_workers.app  # noqa: F401  # takes most of a second, which Ctrl-C may still end


def send(payload: Payload[Any]) -> None:
    """Put a job in its queue. Raises Transient."""
    from kombu.exceptions import OperationalError

    from bespoke_workers.app import CeleryOutbox

    try:
        CeleryOutbox().enqueue(payload)
    except OperationalError as error:
        raise errors.Transient(f"Redis went away ({type(error).__name__}); try again") from None


def answer_to(
    payload: Payload[Any], config: Settings, *, timeout: float | None, tell: Tell
) -> Look:
    """Wait for the answer to a payload that was sent; see ``wait``."""
    if timeout is None and payload.queue not in LONG:
        timeout, patient = WAIT_SECONDS, True
    else:
        patient = False

    asked = partial(unserved, payload, config)
    return wait(payload.id, timeout=timeout, patient=patient, tell=tell, unserved=asked)


def wait(
    job_id: UUID,
    *,
    timeout: float | None,
    tell: Tell,
    patient: bool = False,
    unserved: Callable[[], list[str]] = list,
) -> Look:
    """Wait until a job has ended; ``tell`` hears of each look.

    ``patient``: once the job tells its progress, the timeout no longer counts.
    Raises JobEnded for one without an answer, NotAnswered when the time is up, and NotServed
    if ``unserved`` names queues that nobody consumes.
    """
    begun = time.monotonic()
    ask_at = begun + UNSERVED_SECONDS
    for look in _looks(job_id):
        tell(look)
        if look.state == "SUCCESS":
            return look
        if look.state in {"FAILURE", "REVOKED"}:
            raise JobEnded(look.reason or "the job was cancelled")
        now = time.monotonic()
        if look.state == "PENDING" and now > ask_at:
            # Twice: one that is only slow to answer is there all the same.
            if (missing := unserved()) and missing == unserved():
                raise NotServed(job_id, missing)
            ask_at = time.monotonic() + 5 * UNSERVED_SECONDS
        if timeout is not None and now - begun > timeout and not (patient and look.progress):
            why = f"; {look.reason}" if look.reason else ""
            raise NotAnswered(job_id, f"no answer in {timeout:g} s{why}")
    raise AssertionError("looks never end")


def _looks(job_id: UUID) -> Iterator[Look]:
    """Look at a job again and again, ever less often while nothing changes."""
    import redis

    pause, away_since, before = FIRST_LOOK_SECONDS, None, None
    while True:
        try:
            look = _look(job_id)
            away_since = None
        except redis.RedisError as error:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > OUTAGE_SECONDS:
                raise NotAnswered(job_id, f"Redis is away ({type(error).__name__})") from None
            look = before or Look("PENDING")
        yield look
        pause = FIRST_LOOK_SECONDS if look != before else min(2 * pause, LONGEST_LOOK_SECONDS)
        before = look
        time.sleep(pause)


def _look(job_id: UUID) -> Look:
    from bespoke_workers.app import celery

    meta = celery.backend.get_task_meta(str(job_id), cache=False)
    state, found = str(meta["status"]), meta["result"]
    if isinstance(found, BaseException):
        return Look(state, reason=" ".join(str(found).split()) or type(found).__name__)
    if not isinstance(found, dict) or "task" not in found:
        return Look(state)
    progress = found.get("progress")
    return Look(
        state,
        task=found["task"],
        progress=None if progress is None else Progress.model_validate(progress),
        answer=found.get("result"),
    )


def forget(job_id: UUID) -> None:
    """Remove an answer that was read, before its time is over."""
    from bespoke_workers.app import celery

    celery.backend.forget(str(job_id))


def unserved(payload: Payload[Any], config: Settings) -> list[str]:
    """Return the queues of a payload's job that no worker consumes; none if Redis is away."""
    from bespoke_workers.cli.status import broker_failures

    try:
        return _unserved_queues(payload, config)
    except broker_failures():
        return []  # for how long that may be, the next looks at the job count


def _unserved_queues(payload: Payload[Any], config: Settings) -> list[str]:
    from bespoke_workers.cli.status import consumed, held

    needed = [queue_name(payload.queue, payload.subject())]
    if payload.queue is Queue.OPTIMIZATION:
        tunes = getattr(payload, "optimizer", None) == FINETUNES
        needed.append(str(Queue.FINETUNING) if tunes else OPTIMIZATION_RUNS)
    served = {name for names in consumed(config).values() for name in names} | held(config)
    return sorted(str(_family(name)) for name in set(needed) - served if _waits(name, config))


def _family(name: str) -> str:
    return str(Queue.MEMORIES) if name.startswith(f"{Queue.MEMORIES}.") else name


def _waits(name: str, config: Settings) -> bool:
    """Whether messages lie in a queue: where none does, a busy worker has taken ours."""
    import redis

    with redis.Redis.from_url(config.broker()) as client:
        return bool(client.llen(name))
