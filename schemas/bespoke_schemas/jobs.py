"""Payloads about other jobs, and what every job's progress looks like."""

from enum import StrEnum
from uuid import UUID

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
