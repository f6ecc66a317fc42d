"""Payloads of the optimization: one user's program, or a whole tier's."""

from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Name, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue

Tier = Literal["none", "basic", "advanced", "premium"]


class Optimized(Result):
    """What one user's optimization came to. Scores are means over held-out examples, 0 … 1.

    ``promoted`` says whether the new version is now the one in use; ``program_id`` is the
    version that was saved, None where nothing was tried (``reason`` says why), and where it was
    not promoted and ``BESPOKE_AUTO_SAVE`` is off.
    """

    user_id: str
    program: str
    examples: int
    tier: Tier
    optimizer: str | None
    score_before: float | None
    score_after: float | None
    held_out: int = 0
    promoted: bool
    program_id: UUID | None
    reason: str
    lm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0


class OptimizeUser(Payload[Optimized], queue=Queue.OPTIMIZATION):
    """Optimize one user's program on that user's examples, and promote it if it is better.

    ``tier`` overrides the tier that follows from the number of examples.
    """

    user_id: UserId
    program: Name
    tier: Tier | None = None


class BatchSummary(Result):
    """What a batch came to: counts of users, and the errors by user."""

    batch_id: UUID
    program: str
    tier: Tier
    eligible: int
    promoted: int
    unchanged: int
    failed: int
    errors: dict[str, str] = Field(default_factory=dict)


class OptimizeTier(Payload[BatchSummary], queue=Queue.OPTIMIZATION):
    """Optimize every eligible user of a tier, ``max_concurrent`` of them at a time.

    ``night`` makes it one batch for a program, tier and night, however often it is enqueued.
    """

    program: Name
    tier: Tier
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    min_new_examples: int = Field(default=1, ge=0)
    night: date | None = None
