"""A memory on its way into a space."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bespoke_schemas import memories
from bespoke_workers.memories import guard
from bespoke_workers.memories.duplicates import Candidate
from bespoke_workers.memories.index import to_bytes


@dataclass(frozen=True)
class Fresh:
    """What a Store asks to remember, embedded. The memory takes the job's id."""

    payload: memories.Store
    vector: NDArray[np.float32]
    facts: str
    tags: tuple[str, ...]
    at: datetime

    @classmethod
    def of(cls, payload: memories.Store, vector: NDArray[np.float32], at: datetime) -> "Fresh":
        """Make a memory of a payload, its embedding of shape (dim,) and the moment of storing."""
        tags = tuple(dict.fromkeys(payload.tags))
        return cls(payload, vector, guard.facts(payload.content), tags, at)

    @property
    def candidate(self) -> Candidate:
        """The memory as its duplicates are weighed against it."""
        return Candidate(self.payload.id, 0, None, self.tags, self.at)

    def columns(self) -> dict[str, Any]:
        """Return the parameters of STORE and INSERT_MEMORY that describe the memory."""
        return {
            "id": self.payload.id,
            "user_id": self.payload.user_id,
            "content": self.payload.content,
            "kind": self.payload.kind,
            "tags": list(self.tags),
            "meta": json.dumps(self.payload.metadata),
            "facts": self.facts,
            "embedding": to_bytes(self.vector),
            "now": self.at,
        }
