"""The optimization of a whole tier."""

from datetime import date
from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Name
from bespoke_schemas.optimization.users import Tier
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class BatchSummary(Result):
    """What a batch came to: counts of users, and the errors by user.

    Scores are means over the runs that scored two versions; ``lm_calls`` and what follows are
    sums over the runs that succeeded.
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
    seconds: float = 0.0


class OptimizeTier(Payload[BatchSummary], queue=Queue.OPTIMIZATION):
    """Optimize every eligible user of a tier, ``max_concurrent`` of them at a time.

    ``night`` makes it one batch for a program, tier and night, however often it is enqueued.
    """

    program: Name
    tier: Tier
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    min_new_examples: int = Field(default=1, ge=0)
    night: date | None = None
