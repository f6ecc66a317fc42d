"""Payloads that save versions."""

from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Metadata, Moment, Name, State, Tags, Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class Saved(Result):
    """The version that was saved."""

    program_id: UUID
    saved_at: Moment
    active: bool


class Save(Payload[Saved], queue=Queue.PROGRAMS):
    """Save a version of a program; the version's id is this payload's id.

    ``state`` is what ``Module.dump_state()`` gives. Demos, instructions and the fields'
    prefixes and descriptions are kept; anything else in it is dropped.
    """

    program: Name
    user_id: UserId | None = None
    state: State
    optimizer: Name | None = None
    score: float | None = None
    optimization_result: Metadata = Field(default_factory=dict)
    tags: Tags = ()
    description: Text = ""
    metadata: Metadata = Field(default_factory=dict)
    parent_id: UUID | None = None
    activate: bool = False
