"""Payloads of the memories: what a user said, kept free of duplicates."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Content, Metadata, Moment, Name, Tags, Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class StrategyReport(Result):
    """What one compaction strategy did: counts of one user's memories."""

    removed_count: int
    before_count: int
    after_count: int
    trigger: str


class Compaction(Result):
    """What one inline compaction did; a strategy that had nothing to do is None."""

    size_compaction: StrategyReport | None = None
    age_compaction: StrategyReport | None = None
    deduplication: StrategyReport | None = None
    relevance_pruning: StrategyReport | None = None
    total_compacted: int = 0


class Stored(Result):
    """What became of a memory. ``memory_id`` is the one kept, also after a merge."""

    memory_id: UUID
    outcome: Literal["inserted", "merged"]
    merged_with: UUID | None = None
    similarity: float | None = None
    count: int
    compaction: Compaction = Compaction()


class Store(Payload[Stored], queue=Queue.MEMORIES):
    """Remember one thing that a user said; its duplicate, if there is one, is merged."""

    user_id: UserId
    content: Content
    kind: Name = "fact"
    tags: Tags = ()
    metadata: Metadata = Field(default_factory=dict)


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


class Search(Payload[Found], queue=Queue.READS):
    """Find a user's memories by meaning, and count the access of each one found."""

    user_id: UserId
    query: Content
    tags: Tags = ()
    limit: int = Field(default=10, ge=1, le=200)
    threshold: float = Field(default=0.0, ge=-1.0, le=1.0)


class Listed(Result):
    """A page of memories, newest first, and how many there are in all."""

    memories: tuple[Memory, ...]
    total: int


class List(Payload[Listed], queue=Queue.READS):
    """List a user's memories, newest first."""

    user_id: UserId
    tags: Tags = ()
    text: Text | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


class Counted(Result):
    """How many memories a user has."""

    count: int


class Count(Payload[Counted], queue=Queue.READS):
    """Count a user's memories."""

    user_id: UserId
