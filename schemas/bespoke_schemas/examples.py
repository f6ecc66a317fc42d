"""Payloads of the training examples that a user's program learns from."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, JsonValue, model_validator

from bespoke_schemas.fields import Content, Fields, Moment, Name, UserId
from bespoke_schemas.optimization import Tier
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class Added(Result):
    """How many examples were added, how many were there already, and how many there are.

    ``removed`` are the oldest ones that had to go because a user keeps a bounded number.
    """

    added: int
    duplicates: int
    total: int
    removed: int = 0


class Add(Payload[Added], queue=Queue.PROGRAMS):
    """Add one training example: the program's inputs and the outputs wanted for them."""

    user_id: UserId
    program: Name
    example: Fields


class AddMany(Payload[Added], queue=Queue.PROGRAMS):
    """Add many training examples in one transaction."""

    user_id: UserId
    program: Name
    examples: Annotated[tuple[Fields, ...], Field(min_length=1, max_length=10_000)]


class Judged(Result):
    """What became of a feedback, and how many examples there are now.

    ``replaced`` are examples that the user's last word took the place of, ``removed`` the oldest
    ones beyond the bound. ``optimization`` is the job that optimizes the program anew, if this
    feedback was the one that made it due.
    """

    outcome: Literal["added", "known", "counted"]
    replaced: int
    removed: int
    total: int
    optimization: UUID | None


class Feedback(Payload[Judged], queue=Queue.PROGRAMS):
    """Say whether the ``outputs`` that a program gave for some ``inputs`` are good.

    Those that are become an example. Those that are not become one with the ``correction`` in
    their place, which is all of the outputs that are wanted; without one they are only counted.
    What a user says last about the same inputs holds.
    """

    user_id: UserId
    program: Name
    inputs: Fields
    outputs: Fields
    positive: bool
    correction: Fields | None = None

    @model_validator(mode="after")
    def _only_the_bad_are_corrected(self) -> Self:
        if self.positive and self.correction is not None:
            raise ValueError("a correction is for outputs that are not good; give positive=False")
        return self


class KeptExample(Result):
    """One training example; ``position`` rises in the order of adding."""

    position: int
    created_at: Moment
    fields: dict[str, JsonValue]


class Listed(Result):
    """A page of examples, oldest first, how many there are in all, and where to go on.

    ``next`` is None on the last page.
    """

    examples: tuple[KeptExample, ...]
    total: int
    next: int | None


class List(Payload[Listed], queue=Queue.PROGRAMS):
    """List a user's examples for a program in the order of adding.

    ``after`` is the ``next`` of the page before. Pages neither repeat nor miss an example though
    others come and go meanwhile.
    """

    user_id: UserId
    program: Name
    limit: int = Field(default=100, ge=1, le=1000)
    after: int | None = Field(default=None, ge=0, le=2**63 - 1)


class LearnerStats(Result):
    """What a user's program has to learn from, in numbers.

    ``added_total`` counts all that were ever added, ``new`` those there are that no optimization
    has seen; ``approved``, ``corrected`` and ``rejected`` count feedback. ``tier`` follows from
    the number of examples, ``tier_by_hand`` stands above it. ``inputs`` are the registered
    program's. A feedback optimizes the program anew after ``reoptimized_after`` more new examples,
    at once if that is 0, never if it is None.
    """

    program: str
    examples: int
    added_total: int
    new: int
    approved: int
    corrected: int
    rejected: int
    tier: Tier
    tier_by_hand: Tier | None
    inputs: tuple[str, ...]
    reoptimized_after: int | None


class ExampleStats(Result):
    """What each program of a user has to learn from, by the programs' names."""

    programs: tuple[LearnerStats, ...]


class Stats(Payload[ExampleStats], queue=Queue.PROGRAMS):
    """Tell what a user's programs, or one of them, have to learn from, in numbers."""

    user_id: UserId
    program: Name | None = None


class NearExample(KeptExample):
    """One training example, and how similar its inputs are: a cosine, 1 for the same."""

    similarity: float


class Near(Result):
    """The examples nearest to some inputs, the nearest first."""

    examples: tuple[NearExample, ...]


class Nearest(Payload[Near], queue=Queue.PROGRAMS):
    """Find those of a user's examples whose inputs are most like these.

    Those of the user's present examples, whatever the version in use has learned from.
    """

    user_id: UserId
    program: Name
    inputs: Fields
    limit: int = Field(default=8, ge=1, le=100)


class Embedded(Result):
    """A text's vector, normalised: ``dim`` float16, little-endian, as base64."""

    embedder: str
    dim: int
    vector: str = Field(repr=False)


class Embed(Payload[Embedded], queue=Queue.READS):
    """Turn a text into a vector, as the workers' embedder does with examples.

    So a program that is served without the database picks the demos of a request.
    """

    user_id: UserId | None = None
    text: Content


class Cleared(Result):
    """How many examples were deleted."""

    removed: int


class Clear(Payload[Cleared], queue=Queue.PROGRAMS):
    """Delete a user's examples for one program, or for all of them if none is named.

    Versions that learned from them stay.
    """

    user_id: UserId
    program: Name | None = None
