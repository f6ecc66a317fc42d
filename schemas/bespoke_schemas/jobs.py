"""Payloads about other jobs, and what every job's progress looks like."""

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Moment, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class Status(StrEnum):
    """Where a job is in its life. ``QUEUED`` is also what an unknown job looks like."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether a job with this status will never have another."""
        return self in {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}


class Progress(Result):
    """How far a running job is: steps done, of how many, and what it took so far."""

    step: str = ""
    done: int = 0
    total: int | None = None
    best_score: float | None = None
    lm_calls: int = 0
    cost_usd: float = 0.0


class Cancelled(Result):
    """Whether the cancellation came in time to have an effect."""

    cancelled: bool
    reason: str


class Cancel(Payload[Cancelled], queue=Queue.UPKEEP):
    """Stop a job: one that waits is not started, an optimization that runs is stopped."""

    job_id: UUID


class JobRecord(Result):
    """What is recorded of a job, without anything of what it was asked or has answered.

    ``accepted`` is one whose answer comes later, such as an optimization; the others have ended.
    ``at`` is when it ended, or was accepted. ``user_id`` is None where it is about no user, and
    where whoever ended it knew its id alone; then ``task`` may be empty, too.
    """

    job_id: UUID
    task: str
    user_id: str | None
    state: Literal["accepted", "done", "failed", "parked", "cancelled"]
    reason: str | None
    at: Moment


class Got(Result):
    """The record of a job, and how often its message came again because a worker died.

    None is one that still waits, one that only read, one that was refused, or one whose record
    is older than ``BESPOKE_JOB_RETENTION_DAYS``: what the job answered, its own result tells.
    """

    job: JobRecord | None
    redeliveries: int = 0


class Get(Payload[Got], queue=Queue.READS):
    """Read the record of a job; with ``user_id``, only if it is about that user."""

    job_id: UUID
    user_id: UserId | None = None


class Cursor(Result):
    """Where a page ended: at this job. It holds though the record be deleted since."""

    at: Moment
    job_id: UUID


class Listed(Result):
    """A page of jobs, what ended last first, and the cursor of the next; None on the last page."""

    jobs: tuple[JobRecord, ...]
    next: Cursor | None


class List(Payload[Listed], queue=Queue.READS):
    """List the jobs that took effect or ended without one: a user's, or without one, everybody's.

    What ended last comes first. Jobs that only read leave no record, and those that were refused
    leave it only where they had been accepted before. ``after`` is the ``next`` of the page before.
    """

    user_id: UserId | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    after: Cursor | None = None


class ListFailed(Payload[Listed], queue=Queue.READS):
    """List the jobs that ended without an effect: parked, cancelled, or failed after acceptance.

    A user's, or without one, everybody's. What ended last comes first; ``after`` is the ``next``
    of the page before. Whoever parks or cancels a short job knows its id alone, so that it is
    listed only with everybody's.
    """

    user_id: UserId | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    after: Cursor | None = None
