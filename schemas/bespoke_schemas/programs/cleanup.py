"""The payload that keeps the library bounded."""

from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from bespoke_schemas.fields import Name, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class CleanedUp(Result):
    """What a cleanup deleted, or with a dry run would delete.

    ``kept_count`` is how many are left where there were too many. ``program_ids`` are those
    deleted, the first thousand of them.
    """

    deleted_count: int
    kept_count: int
    size_bytes: int
    program_ids: tuple[UUID, ...]
    dry_run: bool


class Cleanup(Payload[CleanedUp], queue=Queue.UPKEEP):
    """Delete the least valuable versions where an owner has too many of a program.

    What stays are the ``max_stored_programs`` best by 0.7 x score + 0.3 x recency, both from 0
    to 1 among that owner's versions of that program; and always what anybody has in use, what a
    rollback would go back to, the best, and checkpoints of optimizations that have not ended.
    Checkpoints are counted by themselves, by the same rule.

    Without ``user_id`` it goes through everybody, page by page; ``shared`` is for the shared base
    alone. A ``dry_run`` deletes nothing and answers what would go.
    """

    user_id: UserId | None = None
    shared: bool = False
    program: Name | None = None
    max_stored_programs: int | None = Field(default=None, ge=1, le=1_000_000)
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if self.shared and self.user_id is not None:
            raise ValueError("shared is for the shared base, which has no user; give one of both")
        return self
