"""Payloads that remember what a user said."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Content, Metadata, Name, Tags
from bespoke_schemas.memories.compaction import Compaction
from bespoke_schemas.memories.sharing import InSpace
from bespoke_schemas.payload import Result
from bespoke_schemas.queues import Queue


class Stored(Result):
    """What became of a memory. ``memory_id`` is the one kept, also after a merge."""

    memory_id: UUID
    outcome: Literal["inserted", "merged"]
    merged_with: UUID | None = None
    similarity: float | None = None
    count: int
    compaction: Compaction = Compaction()


class Store(InSpace[Stored], queue=Queue.MEMORIES):
    """Remember one thing that a user said; its duplicate, if there is one, is merged."""

    content: Content
    kind: Name = "fact"
    tags: Tags = ()
    metadata: Metadata = Field(default_factory=dict)
