"""How far a job is, where its client looks: never in the place of how it ended.

Whoever tells of progress may be late: a run that was stopped still counts its last calls, and a
batch that one worker tops up is ended, or cancelled, by another.
"""

from typing import Any, Final

from celery.states import READY_STATES

STATE: Final = "PROGRESS"


def tell(backend: Any, job_id: str, progress: dict[str, Any]) -> None:
    """Store the progress in Celery's Redis backend unless the job's end is there.

    As Celery stores a result, but for the look at what is there: it sees to it by itself that no
    success is overwritten, not that no failure is. Raises redis-py's errors.
    """
    key = backend.get_key_for_task(job_id)
    entry = backend.encode({"status": STATE, "result": progress, "task_id": job_id})

    def unless_ended(pipe: Any) -> None:
        known = pipe.get(key)
        is_ended = known is not None and backend.decode(known)["status"] in READY_STATES
        pipe.multi()
        if not is_ended:
            pipe.set(key, entry, ex=backend.expires)
            pipe.publish(key, entry)

    # Tried again if the entry changes between the look and the write.
    backend.client.transaction(unless_ended, key)
