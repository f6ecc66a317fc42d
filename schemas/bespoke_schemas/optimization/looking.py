"""What batches there are, and how far one is. Nothing of what users said."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Moment, Name
from bespoke_schemas.jobs import Cursor
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue

BatchState = Literal["planning", "running", "paused", "done", "over_budget", "cancelled"]


class BatchRecord(Result):
    """One batch: how many users it has by now, how many runs have ended, and in vain.

    ``lm_calls`` and ``cost_usd`` are those of the runs that ended, as of some seconds ago.
    ``over_budget`` says how the budget was spent, if it was.
    """

    batch_id: UUID
    program: str
    tier: str
    state: BatchState
    users: int
    ended: int
    failed: int
    max_concurrent: int
    lm_calls: int
    cost_usd: float
    started_at: Moment
    finished_at: Moment | None
    over_budget: str | None = None


class BatchesListed(Result):
    """A page of batches, newest first, and the cursor of the next; None on the last page."""

    batches: tuple[BatchRecord, ...]
    next: Cursor | None


class ListBatches(Payload[BatchesListed], queue=Queue.READS):
    """List batches, the newest first: a program's, those in a state, or all.

    ``after`` is the ``next`` of the page before.
    """

    program: Name | None = None
    state: BatchState | None = None
    limit: int = Field(default=20, ge=1, le=200)
    after: Cursor | None = None


class RunError(Result):
    """Why one user's run in a batch came to nothing."""

    job_id: UUID
    user_id: str
    state: Literal["failed", "parked", "cancelled"]
    error: str


class BatchGot(Result):
    """How far a batch is, or what it came to; without a ``batch`` there is none of that id.

    ``runs`` counts users by the state of their runs. Scores are means over the runs that
    scored two versions; tokens, cost and ``seconds`` are sums over all runs, of those that run as
    of some seconds ago. ``unpriced_calls`` are LM calls whose price is not known: the cost is
    without them.
    ``next`` is the ``after`` of the next page of errors, None after the last.
    """

    batch: BatchRecord | None
    runs: dict[str, int] = Field(default_factory=dict)
    promoted: int = 0
    unchanged: int = 0
    score_before: float | None = None
    score_after: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unpriced_calls: int = 0
    seconds: float = 0.0
    errors: tuple[RunError, ...] = ()
    next: UUID | None = None


class GetBatch(Payload[BatchGot], queue=Queue.READS):
    """Tell how far a batch is: counts, scores, LM calls, tokens and cost.

    Users are named only where ``errors`` asks for so many of those whose runs failed.
    """

    batch_id: UUID
    errors: int = Field(default=0, ge=0, le=1000)
    after: UUID | None = None
