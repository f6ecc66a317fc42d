"""Payloads that delete a version, or change which one is in use."""

from uuid import UUID

from bespoke_schemas.fields import Name, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class Deleted(Result):
    """Whether there was such a version, and the bytes of its state."""

    deleted: bool
    size_bytes: int = 0


class Delete(Payload[Deleted], queue=Queue.PROGRAMS):
    """Delete a version or checkpoint of a user, or of the shared base if no user is named.

    Refused while anybody has it in use, and while the optimization runs whose checkpoint it is.
    One that is not there, or is another owner's, is an answer.
    """

    program_id: UUID
    user_id: UserId | None = None


class Activated(Result):
    """The version in use now, and the owner's own one before, None if there was none.

    ``moved`` is False where it was in use already.
    """

    program_id: UUID
    previous_id: UUID | None
    moved: bool


class Activate(Payload[Activated], queue=Queue.PROGRAMS):
    """Put a version into use for a user: that user's own, or a shared one.

    Without a user it becomes the shared base. Refused unless it fits the program's present shape.
    """

    program: Name
    program_id: UUID
    user_id: UserId | None = None


class RolledBack(Result):
    """The version in use now and the one before the rollback, None where there is none.

    Where a user has none in use, the shared base serves them. ``moved`` is False where nothing
    was in use to roll back from. ``skipped`` counts versions in between that no longer fit.
    """

    program_id: UUID | None
    previous_id: UUID | None
    moved: bool
    skipped: int = 0


class Rollback(Payload[RolledBack], queue=Queue.PROGRAMS):
    """Put the version into use that a user, or the shared base, had in use before.

    A second rollback goes one version further back, and after the first version there is none.
    Versions that were deleted, or no longer fit the program's shape, are passed over.
    """

    program: Name
    user_id: UserId | None = None
