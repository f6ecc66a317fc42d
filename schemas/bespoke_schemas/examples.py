"""Payloads of the training examples that a user's program learns from."""

from typing import Annotated

from pydantic import Field

from bespoke_schemas.fields import Fields, Name, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class Added(Result):
    """How many examples were added, how many were there already, and how many there are."""

    added: int
    duplicates: int
    total: int


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
