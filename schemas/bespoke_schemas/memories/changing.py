"""Payloads that change and remove memories."""

from typing import Self
from uuid import UUID

from pydantic import model_validator

from bespoke_schemas.fields import Content, Metadata, Name, Tags
from bespoke_schemas.memories.reading import Memory
from bespoke_schemas.memories.sharing import InSpace
from bespoke_schemas.payload import Result
from bespoke_schemas.queues import Queue


class Updated(Result):
    """The memory after the change; None if the user has none under that id.

    If the new content made it a duplicate, ``memory`` is the one kept, which may be the other,
    and ``merged_with`` is the other one, the most similar if there were several.
    """

    memory: Memory | None
    merged_with: UUID | None = None


class Update(InSpace[Updated], queue=Queue.MEMORIES):
    """Change what is given of a memory; what it was before goes to the archive.

    Its accesses and its time of creation stay; with a new content, its age counts from now.
    """

    memory_id: UUID
    content: Content | None = None
    kind: Name | None = None
    tags: Tags | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _something_changes(self) -> Self:
        if all(one is None for one in (self.content, self.kind, self.tags, self.metadata)):
            raise ValueError("changes nothing; give content, kind, tags or metadata")
        return self


class Deleted(Result):
    """Whether there was such a memory."""

    deleted: bool


class Delete(InSpace[Deleted], queue=Queue.MEMORIES):
    """Remove one memory. It goes to the archive, from which it can be restored for a while."""

    memory_id: UUID


class Cleared(Result):
    """How many memories were removed."""

    removed_count: int


class Clear(InSpace[Cleared], queue=Queue.MEMORIES):
    """Remove a user's memories: all, or those of a kind and with all of some tags.

    They go to the archive, from which they can be restored for a while.
    """

    tags: Tags = ()
    kind: Name | None = None
