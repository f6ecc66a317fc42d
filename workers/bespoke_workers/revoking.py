"""``revoke``, by Celery's remote control or from Flower, is a cancellation.

Celery itself only forgets a message that waits, or kills the process that works: the job's
row would stay open, and the reaper would send it again.
"""

import socket
from typing import Any
from uuid import UUID

import structlog
from kombu.exceptions import OperationalError

from bespoke_schemas.queues import Queue
from bespoke_workers.configuration import REVOKED

_log = structlog.get_logger("bespoke.jobs")


def install(**_: object) -> None:
    """Put ours in the place of the two commands; a receiver of ``worker_init``."""
    from celery.worker import control

    control.Panel.data.update(revoke=_revoke, terminate=_terminate)


def _revoke(
    state: Any,
    task_id: str | list[str],
    terminate: bool = False,
    signal: str | None = None,
    enqueued: bool = False,
    **_: object,
) -> Any:
    """Do what Celery does, and have the jobs cancelled.

    ``enqueued`` says that whoever revokes has enqueued a cancellation.
    """
    from celery.worker import control

    revoke: Any = control.revoke  # type: ignore[attr-defined]  # celery-types leaves it out
    job_ids = [task_id] if isinstance(task_id, str) else list(task_id or ())
    processes = {one: _process(one) if terminate else None for one in job_ids}
    # One that has not begun is not killed a moment later, when it might have claimed its row.
    begun = [one for one, process in processes.items() if process is not None]
    answer = revoke(state, job_ids)
    if begun:
        try:
            answer = revoke(state, begun, terminate=True, signal=signal)
        except NotImplementedError:  # of this pool no process can be killed alone
            processes = dict.fromkeys(job_ids)
    if not enqueued:
        for job_id, process in processes.items():
            _cancel(state.app, job_id, process)
    return answer


def _terminate(state: Any, signal: str, task_id: str | list[str], **_: object) -> Any:
    return _revoke(state, task_id, terminate=True, signal=signal)


def _process(job_id: str) -> str | None:
    """Return the process of this worker that works on a job, as leases name it."""
    from celery.worker import state

    request = state.requests.get(job_id)
    pid = getattr(request, "worker_pid", None)
    return None if pid is None else f"{socket.gethostname()}:{pid}"


def _cancel(app: Any, job_id: str, process: str | None) -> None:
    try:
        UUID(job_id)
    except ValueError:  # no job of ours
        return
    try:
        app.send_task(
            REVOKED,
            kwargs={"job_id": job_id, "process": process},
            queue=str(Queue.UPKEEP),
            ignore_result=True,
        )
    except OperationalError as error:
        _log.warning("revoked, and not cancelled", about=job_id, error=type(error).__name__)
