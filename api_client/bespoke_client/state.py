"""What a job's entry in the result backend says. Pure: bytes in, state out."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from bespoke_client.errors import BadResult, JobCancelled, JobFailed
from bespoke_schemas import Result, payload_type
from bespoke_schemas.jobs import Progress, Status

POLL = 1.0  # seconds between looks when no notification comes: one may have been lost

CANCELLED = "Cancelled"  # the workers' error of a job that was cancelled while it ran

_STATUS = {
    "PENDING": Status.QUEUED,
    "RECEIVED": Status.QUEUED,
    "RETRY": Status.QUEUED,
    "STARTED": Status.RUNNING,
    "PROGRESS": Status.RUNNING,
    "SUCCESS": Status.SUCCEEDED,
    "FAILURE": Status.FAILED,
    "REVOKED": Status.CANCELLED,
}


@dataclass(frozen=True)
class State:
    """One look at a job. ``task`` is None until the job has said what it is."""

    status: Status = Status.QUEUED
    task: str | None = None
    progress: Progress | None = None
    answer: Any = field(default=None, repr=False)
    error_type: str = ""
    reason: str = ""

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self.status.final

    def result(self, job_id: UUID, task: str | None) -> Result:
        """Return the result of a job that has ended.

        ``task`` is what the job is known to be, if it is known. Raises JobFailed,
        JobCancelled, or BadResult if the answer is not that task's result.
        """
        self.check(job_id)
        if task is not None and self.task != task:
            raise BadResult(job_id, f"expected a result of {task!r}, got one of {self.task!r}")
        payload = payload_type(self.task) if self.task is not None else None
        if payload is None:
            raise BadResult(job_id, f"it names the task {self.task!r}, which is not known here")
        try:
            return payload.result_type.model_validate(self.answer)
        except ValidationError as error:
            raise BadResult(job_id, _fields(error)) from None

    def check(self, job_id: UUID) -> None:
        """Raise JobFailed or JobCancelled if that is how the job ended."""
        if self.status is Status.FAILED:
            raise JobFailed(job_id, self.error_type, self.reason)
        if self.status is Status.CANCELLED:
            raise JobCancelled(job_id)


def decode(job_id: UUID, meta: bytes | str | None) -> State:
    """Return what Celery's entry for a job says; None is a job that nobody has begun.

    Raises BadResult if the entry is not JSON of the shape that workers write.
    """
    if meta is None:
        return State()
    try:
        entry = json.loads(meta)
        status = _STATUS.get(entry["status"], Status.RUNNING)
        content = entry.get("result")
        if status is Status.FAILED and _error_type(content) == CANCELLED:
            return State(Status.CANCELLED)
        if status is Status.FAILED:
            return State(status, error_type=_error_type(content), reason=_reason(content))
        if not isinstance(content, dict) or "task" not in content:
            return State(status)
        progress = content.get("progress")
        return State(
            status,
            task=content["task"],
            progress=None if progress is None else Progress.model_validate(progress),
            answer=content.get("result"),
        )
    except ValidationError as error:
        raise BadResult(job_id, _fields(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadResult(job_id, "its entry in the result backend is not a worker's") from None


def _error_type(content: Any) -> str:
    return str(content.get("exc_type") or "Error") if isinstance(content, dict) else "Error"


def _reason(content: Any) -> str:
    """Return an exception's arguments as one line."""
    words = content.get("exc_message") if isinstance(content, dict) else content
    text = " ".join(str(word) for word in words) if isinstance(words, list | tuple) else str(words)
    return " ".join(text.split()) or "no reason was given"


def _fields(error: ValidationError) -> str:
    """Name the fields that are wrong, and repeat none of their values."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    return ", ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'the result'}: {problem['msg']}"
        for problem in problems[:3]
    )
