"""Payloads of the programs: immutable versions, and the pointer to the one in use."""

from uuid import UUID

from pydantic import Field, JsonValue

from bespoke_schemas.fields import Metadata, Moment, Name, State, Tags, Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class Version(Result):
    """One saved version of a program; ``user_id`` is None for the shared base."""

    program_id: UUID
    user_id: str | None
    program: str
    signature: str
    optimizer: str | None
    score: float | None
    state: dict[str, JsonValue]
    optimization_result: dict[str, JsonValue]
    tags: tuple[str, ...]
    description: str
    metadata: dict[str, JsonValue]
    fingerprint: str
    parent_id: UUID | None
    size_bytes: int
    saved_at: Moment


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


class Loaded(Result):
    """A version, or None where there is none: a missing version is an answer, not an error."""

    version: Version | None


class Load(Payload[Loaded], queue=Queue.PROGRAMS):
    """Load a version by its id; with ``user_id``, only if it is that user's or shared."""

    program_id: UUID
    user_id: UserId | None = None


class LoadActive(Payload[Loaded], queue=Queue.PROGRAMS):
    """Load the version that a user has in use, else the shared base's."""

    program: Name
    user_id: UserId | None = None


class Best(Payload[Loaded], queue=Queue.PROGRAMS):
    """Load the version of the highest score, the newest on a tie.

    Looks at one user's versions, or at the shared base's if no user is named.
    """

    program: Name | None = None
    signature: Text | None = None
    user_id: UserId | None = None
