"""The optimization of one user's program."""

from typing import Final, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from bespoke_schemas.fields import Metadata, Name, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue

NO_TIER = "none"
"""The tier that every table has and that optimizes nothing."""

Tier = Name
"""The name of a tier. Which there are is up to ``BESPOKE_TIERS`` of the workers."""

Optimizer = Literal[
    "LabeledFewShot",
    "KNNFewShot",
    "BootstrapFewShot",
    "BootstrapFewShotWithRandomSearch",
    "InferRules",
    "MIPROv2",
    "GEPA",
    "BootstrapFinetune",
]

AUTO: Final = "auto"
"""The choice of an optimizer by trying several, from the cheapest up."""

Choice = Literal[Optimizer, "auto"]
"""What may stand where an optimizer is named."""


FINETUNES: Final = "BootstrapFinetune"
"""The one that trains a model of the user's own, where ``BESPOKE_FINETUNE_PROVIDER`` is set."""


class Candidate(Result):
    """A program that an optimizer tried, with its score on the examples that it judged by.

    One that ``auto`` tried has also what making and scoring it added to the run's cost.
    """

    name: str
    score: float
    lm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


class Optimized(Result):
    """What one user's optimization came to. Scores are means over held-out examples, 0 … 1.

    ``promoted`` says whether the new version is now the one in use; ``program_id`` is the
    version that was saved, None where nothing was tried (``reason`` says why), and where it was
    not promoted and ``BESPOKE_AUTO_SAVE`` is off. ``candidates`` are the programs that the
    optimizer chose from, the best first; their scores are of examples that it held out itself,
    and those of ``auto`` of the same held-out examples as ``score_after``. ``optimizer`` made the
    new version, also where ``auto`` chose it.
    ``unpriced_calls`` are the LM calls whose price is not known: ``cost_usd`` is without them.
    """

    user_id: str
    program: str
    examples: int
    tier: str
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
    unpriced_calls: int = 0
    seconds: float = 0.0
    candidates: tuple[Candidate, ...] = ()


class OptimizeUser(Payload[Optimized], queue=Queue.OPTIMIZATION):
    """Optimize one user's program on that user's examples, and promote it if it is better.

    ``tier`` overrides the user's own and the one that follows from the number of examples;
    ``optimizer``, with ``options`` of its own, overrides that of any tier; ``auto`` tries several,
    and takes a ``ladder`` and a budget of its own as options. ``max_lm_calls`` and so on are what
    it may take, where that is less than what the workers' settings allow.
    """

    user_id: UserId
    program: Name
    tier: Tier | None = None
    optimizer: Choice | None = None
    options: Metadata = Field(default_factory=dict)
    max_lm_calls: int | None = Field(default=None, ge=1, le=10**12)
    max_tokens: int | None = Field(default=None, ge=1, le=10**15)
    max_usd: float | None = Field(default=None, ge=0.0001, le=1e9)
    max_seconds: float | None = Field(default=None, ge=1, le=1e9)

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.tier is not None and self.optimizer is not None:
            raise ValueError("gives a tier and an optimizer; give one of them")
        if self.options and self.optimizer is None:
            raise ValueError("gives options and no optimizer; name the optimizer they are for")
        return self


class TierSet(Result):
    """The tier that a user was given by hand, None for the one by the number of examples."""

    tier: str | None


class SetTier(Payload[TierSet], queue=Queue.PROGRAMS):
    """Give a user a tier for one program by hand, or with None, let it follow from the examples.

    It holds for the nightly batches and for ``OptimizeUser`` without a tier or an optimizer.
    """

    user_id: UserId
    program: Name
    tier: Tier | None = None
