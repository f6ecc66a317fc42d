"""The optimization of one user's program."""

from typing import Literal
from uuid import UUID

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
