"""Payloads of whole programs: a module with its code, for workers only."""

from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Moment, Name, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class SavedWhole(Result):
    """A program that was saved whole; ``program_id`` is the version in it, None for none.

    ``url`` tells where it lies. Only workers load it, by ``whole_id`` and its user.
    """

    whole_id: UUID
    program_id: UUID | None
    url: str
    size_bytes: int
    saved_at: Moment


class SaveWhole(Payload[SavedWhole], queue=Queue.PROGRAMS):
    """Save the program that a user has in use with its code, as a file under the storage URL.

    With ``program_id``, that version of it, which is the user's own or shared; None for
    ``user_id`` is the shared base. The payload's id becomes the file's. Workers need
    ``BESPOKE_SIGNING_KEY`` for it.
    """

    program: Name
    user_id: UserId | None = None
    program_id: UUID | None = None


class WholeProgram(Result):
    """One program that was saved whole; ``base_id`` is the base that completed its version."""

    whole_id: UUID
    program: str
    program_id: UUID | None
    base_id: UUID | None
    versions: dict[str, str]
    size_bytes: int
    saved_at: Moment


class ListedWhole(Result):
    """The newest of an owner's whole programs, newest first, and how many there are."""

    whole: tuple[WholeProgram, ...]
    total: int


class ListWhole(Payload[ListedWhole], queue=Queue.PROGRAMS):
    """List the programs of a user, or of the shared base, that were saved whole."""

    user_id: UserId | None = None
    program: Name | None = None
    limit: int = Field(default=100, ge=1, le=1000)


class DeletedWhole(Result):
    """Whether there was such a whole program."""

    deleted: bool


class DeleteWhole(Payload[DeletedWhole], queue=Queue.PROGRAMS):
    """Delete a program that was saved whole, if it is this user's; None is the shared base."""

    whole_id: UUID
    user_id: UserId | None = None
