"""Payloads that read memories."""

from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from bespoke_schemas.fields import Content, Metadata, Moment, Name, Offset, Tags, Text
from bespoke_schemas.memories.sharing import InSpace
from bespoke_schemas.payload import Result
from bespoke_schemas.queues import Queue


class Memory(Result):
    """One memory as it is read. Times are UTC."""

    id: UUID
    content: str
    kind: str
    tags: tuple[str, ...]
    metadata: Metadata
    created_at: Moment
    updated_at: Moment
    access_count: int
    last_accessed_at: Moment | None


class Match(Result):
    """A memory found, with its similarity (cosine) where it was looked for by meaning."""

    memory: Memory
    similarity: float | None = None


class Found(Result):
    """Memories found, best first."""

    matches: tuple[Match, ...]


class Search(InSpace[Found], queue=Queue.READS):
    """Find a user's memories by meaning, and count the access of each one found.

    Only those are looked at that carry all the ``tags``, are of the ``kind`` and contain the
    ``text``, whatever its case; each is left out of account unless given.
    """

    query: Content
    tags: Tags = ()
    kind: Name | None = None
    text: Text | None = None
    limit: int = Field(default=10, ge=1, le=200)
    threshold: float = Field(default=0.0, ge=-1.0, le=1.0)


class Listed(Result):
    """A page of memories, newest first, and how many there are in all."""

    memories: tuple[Memory, ...]
    total: int


class List(InSpace[Listed], queue=Queue.READS):
    """List a user's memories, newest first."""

    tags: Tags = ()
    kind: Name | None = None
    text: Text | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    offset: Offset = 0


class Counted(Result):
    """How many memories a user has."""

    count: int


class Count(InSpace[Counted], queue=Queue.READS):
    """Count a user's memories."""


class Got(Result):
    """A memory; None if the user has none under that id."""

    memory: Memory | None


class Get(InSpace[Got], queue=Queue.READS):
    """Read one memory. This counts as no access: only a search does."""

    memory_id: UUID


class SpaceStats(Result):
    """What a user's space holds. Without a first store there is no embedder yet."""

    count: int
    oldest_created_at: Moment | None
    newest_created_at: Moment | None
    most_accessed: int
    accesses_total: int
    by_kind: dict[str, int]
    archived_count: int
    embedder: str | None
    dim: int | None


class Stats(InSpace[SpaceStats], queue=Queue.READS):
    """Tell what a user's space holds, in numbers."""


class FindSimilar(InSpace[Found], queue=Queue.READS):
    """Find what is similar to one of a user's memories, or to a text; it counts as no access.

    ``threshold`` (cosine) is the one from which the space takes two memories for duplicates,
    unless given. The memory itself is not among those found; one that is missing has no likes.
    """

    memory_id: UUID | None = None
    content: Content | None = None
    threshold: float | None = Field(default=None, ge=-1.0, le=1.0)
    limit: int = Field(default=10, ge=1, le=200)

    @model_validator(mode="after")
    def _one_is_sought(self) -> Self:
        if (self.memory_id is None) == (self.content is None):
            raise ValueError("give either memory_id or content, and not both")
        return self
