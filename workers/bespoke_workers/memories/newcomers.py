"""Many memories on their way into a space, and the statement that inserts them all."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ARRAY, BigInteger, DateTime, LargeBinary, Text

from bespoke_schemas.memories import NewMemory
from bespoke_workers.memories import guard
from bespoke_workers.memories.duplicates import Candidate
from bespoke_workers.memories.index import STORED
from bespoke_workers.memories.statements import statement

_VERSION_7, _RFC_VARIANT = 0x7 << 76, 0x2 << 62
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Newcomer:
    """One of many memories on their way into a space; ``metadata`` is JSON."""

    candidate: Candidate
    content: str
    kind: str
    metadata: str
    facts: str
    created_at: datetime
    updated_at: datetime
    renewed_at: datetime | None = None

    def under(self, other_id: UUID) -> "Newcomer":
        """Return it under another id."""
        return replace(self, candidate=replace(self.candidate, id=other_id))


def of(job_id: UUID, memories: Sequence[NewMemory], now: datetime) -> list[Newcomer]:
    """Return what a job asks to remember, each one a microsecond newer than the one before.

    So they have an order, as those of one store after the other have.
    """
    newcomers = []
    for position, one in enumerate(memories):
        at = now + position * _TICK
        tags = tuple(dict.fromkeys(one.tags))
        candidate = Candidate(memory_id(job_id, position), 0, None, tags, at)
        metadata = json.dumps(one.metadata) if one.metadata else "{}"
        facts = guard.facts(one.content)
        newcomers.append(Newcomer(candidate, one.content, one.kind, metadata, facts, at, at))
    return newcomers


def memory_id(job_id: UUID, position: int) -> UUID:
    """Return the id of a job's memory at a position below 4,096: the same at every delivery.

    A UUIDv7 of the job's time, in the order of the positions: neighbours in the primary key.
    """
    digest = hashlib.blake2b(job_id.bytes + position.to_bytes(2), digest_size=8).digest()
    tail = int.from_bytes(digest) & ((1 << 62) - 1)
    head = job_id.int >> 80 << 80
    return UUID(int=head | _VERSION_7 | position << 64 | _RFC_VARIANT | tail)


def columns(newcomers: Sequence[Newcomer], vectors: NDArray[np.float32]) -> Mapping[str, Any]:
    """Return the parameters of INSERT_MEMORIES that describe the memories; vectors are (n, dim)."""
    stored = vectors.astype(STORED)
    return {
        "ids": [one.candidate.id for one in newcomers],
        "contents": [one.content for one in newcomers],
        "kinds": [one.kind for one in newcomers],
        "tag_lists": [
            json.dumps(one.candidate.tags) if one.candidate.tags else "[]" for one in newcomers
        ],
        "metas": [one.metadata for one in newcomers],
        "facts_of_each": [one.facts for one in newcomers],
        "embeddings": [vector.tobytes() for vector in stored],
        "access_counts": [one.candidate.access_count for one in newcomers],
        "accessed_ats": [one.candidate.last_accessed_at for one in newcomers],
        "created_ats": [one.created_at for one in newcomers],
        "updated_ats": [one.updated_at for one in newcomers],
        "renewed_ats": [one.renewed_at for one in newcomers],
    }


_TEXTS, _MOMENTS = ARRAY(Text()), ARRAY(DateTime(timezone=True))

INSERT_MEMORIES = statement(
    """
    INSERT INTO memory (id, user_id, content, kind, tags, meta, facts, embedding, version,
        access_count, last_accessed_at, created_at, updated_at, renewed_at)
    SELECT id, :user_id, content, kind,
        CASE tags WHEN '[]' THEN CAST('{}' AS text[])
            ELSE ARRAY(SELECT jsonb_array_elements_text(CAST(tags AS jsonb))) END,
        CAST(meta AS jsonb), facts, embedding, :version, access_count, last_accessed_at,
        created_at, updated_at, renewed_at
    FROM unnest(:ids, :contents, :kinds, :tag_lists, :metas, :facts_of_each, :embeddings,
        :access_counts, :accessed_ats, :created_ats, :updated_ats, :renewed_ats)
        AS newcomer (id, content, kind, tags, meta, facts, embedding,
            access_count, last_accessed_at, created_at, updated_at, renewed_at)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
    """,
    contents=_TEXTS,
    kinds=_TEXTS,
    tag_lists=_TEXTS,
    metas=_TEXTS,
    facts_of_each=_TEXTS,
    embeddings=ARRAY(LargeBinary()),
    access_counts=ARRAY(BigInteger()),
    accessed_ats=_MOMENTS,
    created_ats=_MOMENTS,
    updated_ats=_MOMENTS,
    renewed_ats=_MOMENTS,
)
"""Insert memories into a space that this transaction has locked; an id in use is left out."""
