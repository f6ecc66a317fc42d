"""What optimizations took, by whom or when. Nothing of what users said."""

from typing import Literal

from pydantic import Field

from bespoke_schemas.fields import Moment, Name, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue

SpendingBy = Literal["user", "program", "tier", "day", "night"]


class SpendingLine(Result):
    """What runs took together: those of the user, program, tier, day or night that ``key`` names.

    ``failed`` of the ``runs`` came to no result. ``unpriced_calls`` are LM calls whose price is not
    known: ``cost_usd`` is without them.
    """

    key: str
    runs: int
    failed: int
    lm_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unpriced_calls: int
    seconds: float


class Spent(Result):
    """A page of spending in the order of the keys, the cursor of the next, and the sum of all.

    ``next`` is None on the last page. Of runs that go on, figures are as of some seconds ago.
    """

    lines: tuple[SpendingLine, ...]
    next: str | None
    total: SpendingLine


class Spending(Payload[Spent], queue=Queue.READS):
    """Tell what optimizations took that began in a span of time, however they ended.

    ``by`` says what is told apart: a ``day`` is the one on which the run began, a ``night`` that on
    which its batch did, both in the time zone that is set; runs without a batch have no night. A
    run counts for the tier that it ran as. ``after`` is the ``next`` of the page before.
    """

    by: SpendingBy = "day"
    program: Name | None = None
    user_id: UserId | None = None
    tier: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    after: UserId | None = None
