"""Payloads of checkpoints: versions with a name to come back to."""

from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from bespoke_schemas.fields import Metadata, Moment, Name, State, Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.programs.loading import Loaded
from bespoke_schemas.queues import Queue


class Checkpointed(Result):
    """The checkpoint that was saved."""

    program_id: UUID
    name: str
    saved_at: Moment


class Checkpoint(Payload[Checkpointed], queue=Queue.PROGRAMS):
    """Save a checkpoint of a program by a name, for a user or for the shared base.

    It is made of a ``state``, as ``Save`` takes it, or of the version ``program_id``, the owner's
    own or a shared one, whose score and origin it keeps unless others are given. Several may have
    the same name; the newest is the one that is restored.
    """

    program: Name
    name: Name
    user_id: UserId | None = None
    program_id: UUID | None = None
    state: State | None = None
    score: float | None = None
    description: Text = ""
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.state is None) == (self.program_id is None):
            raise ValueError("give a state or the program_id of a version, one of the two")
        return self


class Restored(Loaded):
    """The newest checkpoint of the name, or None where there is none.

    Where it was to be put into use, ``version`` is the new version that was made of it, whose
    ``parent_id`` is the checkpoint, and ``active`` is True.
    """

    active: bool = False


class RestoreCheckpoint(Payload[Restored], queue=Queue.PROGRAMS):
    """Load the newest checkpoint of a name; with ``activate``, put its state into use.

    A checkpoint itself is never in use: a version with its state is saved under this payload's
    id, and refused if it does not fit the program's present shape.
    """

    program: Name
    name: Name
    user_id: UserId | None = None
    activate: bool = False
