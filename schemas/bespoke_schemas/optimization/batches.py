"""The optimization of a whole tier."""

from datetime import date
from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import COUNT_LIMIT, Name
from bespoke_schemas.optimization.users import Tier
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class BatchSummary(Result):
    """What a batch came to: counts of users, and the errors by user.

    Scores are means over the runs that scored two versions; ``lm_calls`` and what follows are
    sums over all runs, also those that failed or were cancelled. ``unpriced_calls`` are LM calls
    whose price is not known: ``cost_usd`` is without them. ``skipped`` are those that were not
    begun since the batch's budget was spent, and ``over_budget`` says how.
    """

    batch_id: UUID
    program: str
    tier: Tier
    eligible: int
    promoted: int
    unchanged: int
    failed: int
    errors: dict[str, str] = Field(default_factory=dict)
    score_before: float | None = None
    score_after: float | None = None
    lm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    unpriced_calls: int = 0
    seconds: float = 0.0
    skipped: int = 0
    over_budget: str | None = None


class OptimizeTier(Payload[BatchSummary], queue=Queue.OPTIMIZATION):
    """Optimize every eligible user of a tier, ``max_concurrent`` of them at a time.

    ``night`` makes it one batch for a program, tier and night, however often it is enqueued. Once
    its runs have paid for ``max_lm_calls``, have cost ``max_usd`` or ``max_seconds`` have passed
    since it began, no further run is begun; those under way go on, each in its own budget:
    ``run_max_lm_calls`` and so on, and what the workers' settings allow.
    """

    program: Name
    tier: Tier
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    min_new_examples: int = Field(default=1, ge=0, le=COUNT_LIMIT)
    night: date | None = None
    max_lm_calls: int | None = Field(default=None, ge=1, le=10**12)
    max_usd: float | None = Field(default=None, ge=0.0001, le=1e9)
    max_seconds: float | None = Field(default=None, ge=1, le=1e9)
    run_max_lm_calls: int | None = Field(default=None, ge=1, le=10**12)
    run_max_tokens: int | None = Field(default=None, ge=1, le=10**15)
    run_max_usd: float | None = Field(default=None, ge=0.0001, le=1e9)
    run_max_seconds: float | None = Field(default=None, ge=1, le=1e9)


class BatchBegun(Result):
    """A batch that was asked for, and its tier."""

    batch_id: UUID
    tier: Tier


class BatchesBegun(Result):
    """The batches of all tiers, each a job of its own that answers when it has ended."""

    batches: tuple[BatchBegun, ...]


class OptimizeAll(Payload[BatchesBegun], queue=Queue.OPTIMIZATION):
    """Optimize every eligible user of every tier: a batch for each tier, at once.

    ``max_concurrent`` is each batch's own. The answer names the batches and does not wait.
    """

    program: Name
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    min_new_examples: int = Field(default=1, ge=0, le=COUNT_LIMIT)
