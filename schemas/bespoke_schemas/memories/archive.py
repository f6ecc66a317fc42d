"""Payloads of the archive: what was removed, and bringing it back."""

from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from bespoke_schemas.fields import Moment, Name, Offset
from bespoke_schemas.memories.reading import Memory
from bespoke_schemas.memories.sharing import InSpace
from bespoke_schemas.payload import Result
from bespoke_schemas.queues import Queue


class Archived(Result):
    """A memory in the archive, as it was, and why it is there.

    ``run_id`` is the job that removed it, ``kept_id`` the memory that stayed in its place and
    ``similarity`` the cosine of the two, where there is one.
    """

    memory: Memory
    reason: str
    run_id: UUID
    kept_id: UUID | None
    similarity: float | None
    removed_at: Moment


class ArchivedListed(Result):
    """A page of the archive, what went last first, and how many there are in all."""

    archived: tuple[Archived, ...]
    total: int


class ListArchived(InSpace[ArchivedListed], queue=Queue.READS):
    """List what is in the archive of a user's memories, what went last first.

    All, or what one job removed, what is there for one reason, or what went at ``since`` or later:
    by this an application tells its user what was removed since it asked last.
    """

    run_id: UUID | None = None
    reason: Name | None = None
    since: Moment | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    offset: Offset = 0


class Skipped(Result):
    """A memory that stays in the archive, and why.

    ``duplicate``: what it duplicates is remembered. ``full``: there are ``max_memories``, or as
    many of its kind as there may be. ``present``: it is remembered itself, and was removed rather
    than changed by that job.
    """

    memory_id: UUID
    reason: Literal["duplicate", "full", "present"]


class Restored(Result):
    """How many memories came back from the archive, and which did not."""

    restored_count: int
    skipped: tuple[Skipped, ...] = ()


class Restore(InSpace[Restored], queue=Queue.MEMORIES):
    """Bring back from the archive one memory, or all that one job removed or changed.

    Of a memory that was updated, the state before that comes back and the present one goes to the
    archive, so that restoring it again undoes this. A restored memory keeps its times and
    accesses, but its age counts from now, and relevance pauses for as many stores as were
    restored: the rule that removed a memory does not remove it again at once.
    """

    run_id: UUID | None = None
    memory_id: UUID | None = None

    @model_validator(mode="after")
    def _one_is_restored(self) -> Self:
        if (self.run_id is None) == (self.memory_id is None):
            raise ValueError("give either run_id or memory_id, and not both")
        return self
