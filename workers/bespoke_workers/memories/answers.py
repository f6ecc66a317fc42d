"""Rows and hits as reads answer them."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from bespoke_schemas.memories import Memory
from bespoke_workers.memories.index import Hit


def memory_of(row: Row[Any]) -> Memory:
    """Return the memory of a row that has the columns of one."""
    return Memory(
        id=UUID(bytes=row.id.bytes),
        content=row.content,
        kind=row.kind,
        tags=tuple(row.tags),
        metadata=row.meta,
        created_at=row.created_at,
        updated_at=row.updated_at,
        access_count=row.access_count,
        last_accessed_at=row.last_accessed_at,
    )


def at_least(hits: Iterable[Hit], threshold: float) -> list[Hit]:
    """Return the hits with a cosine of at least ``threshold``, in their order."""
    # Rounded to float16, two opposite vectors may come to a little less than -1.
    clipped = ((memory_id, max(similarity, -1.0)) for memory_id, similarity in hits)
    return [hit for hit in clipped if hit[1] >= threshold]


def containing(text: str) -> str:
    """Return the LIKE pattern of what contains ``text``, whatever characters it has."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
