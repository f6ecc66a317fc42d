"""What is kept of one memory, and of one that left."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from bespoke_schemas.memories import Archived, Memory
from bespoke_workers.memories import plan
from bespoke_workers.memories.duplicates import Candidate
from bespoke_workers.memories.fresh import Fresh
from bespoke_workers.memories.index import to_bytes
from bespoke_workers.memories.newcomers import Newcomer


@dataclass(frozen=True)
class Row:
    """A memory with what deduplication compares: its facts, and its vector as it is stored.

    ``renewed_at`` is when it was last said again or restored.
    """

    memory: Memory
    facts: str
    embedding: bytes
    renewed_at: datetime | None = None

    @classmethod
    def of(cls, fresh: Fresh) -> "Row":
        """Make the row of a memory that is new."""
        memory = Memory(
            id=fresh.payload.id,
            content=fresh.payload.content,
            kind=fresh.payload.kind,
            tags=fresh.tags,
            metadata=fresh.payload.metadata,
            created_at=fresh.at,
            updated_at=fresh.at,
            access_count=0,
            last_accessed_at=None,
        )
        return cls(memory, fresh.facts, to_bytes(fresh.vector))

    @classmethod
    def of_newcomer(cls, new: Newcomer, vector: NDArray[np.float32]) -> "Row":
        """Make the row of one of many, its embedding of shape (dim,)."""
        memory = Memory(
            id=new.candidate.id,
            content=new.content,
            kind=new.kind,
            tags=new.candidate.tags,
            metadata=json.loads(new.metadata),
            created_at=new.created_at,
            updated_at=new.updated_at,
            access_count=new.candidate.access_count,
            last_accessed_at=new.candidate.last_accessed_at,
        )
        return cls(memory, new.facts, to_bytes(vector), new.renewed_at)

    @property
    def standing(self) -> plan.Row:
        """What compaction judges it by."""
        one = self.memory
        return plan.Row(
            one.id,
            one.created_at,
            one.access_count,
            one.last_accessed_at,
            self.renewed_at,
            one.kind,
        )

    @property
    def candidate(self) -> Candidate:
        """What decides whether it is kept, and what it takes over."""
        one = self.memory
        return Candidate(
            one.id, one.access_count, one.last_accessed_at, one.tags, self.standing.age_from
        )

    def changed(self, **fields: Any) -> "Row":
        """Return it with some fields of the memory changed."""
        return replace(self, memory=self.memory.model_copy(update=fields))


@dataclass(frozen=True)
class Gone:
    """A row in the archive; ``version`` is that of the space in which it left."""

    row: Row
    reason: str
    run_id: UUID
    kept_id: UUID | None
    similarity: float | None
    removed_at: datetime
    version: int
    id: UUID = field(default_factory=uuid4)

    @property
    def memory_id(self) -> UUID:
        """The memory that it was."""
        return self.row.memory.id

    @property
    def embedding(self) -> bytes:
        """The vector that it had."""
        return self.row.embedding

    @property
    def facts(self) -> str:
        """The facts that it had."""
        return self.row.facts

    @property
    def kind(self) -> str:
        """The kind that it was of."""
        return self.row.memory.kind

    def archived(self) -> Archived:
        """Return it as listings answer it."""
        return Archived(
            memory=self.row.memory,
            reason=self.reason,
            run_id=self.run_id,
            kept_id=self.kept_id,
            similarity=self.similarity,
            removed_at=self.removed_at,
        )
