"""Records: what a file of memories has on each line, and what they are in the table."""

import json
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID, uuid5

from pydantic import ValidationError
from sqlalchemy import Row

from bespoke_schemas.fields import CONTENT_LIMIT, METADATA_LIMIT
from bespoke_schemas.memories import Record
from bespoke_workers.memories import guard
from bespoke_workers.memories.duplicates import Candidate
from bespoke_workers.memories.newcomers import Newcomer
from bespoke_workers.storage.files import Kind
from bespoke_workers.storage.places import Place

LINE_LIMIT = 12 * (CONTENT_LIMIT + METADATA_LIMIT) + 2**18
"""Bytes of a line: a longest memory, each character escaped as two surrogates, and its tags."""
TOTAL_LIMIT = 2**28
"""Bytes of a file, uncompressed: what is read and checked in some seconds."""
RECORDS = Kind("record file", LINE_LIMIT, TOTAL_LIMIT, "export by kind or by tags", is_by_hand=True)
_NAMESPACE = UUID("5f0c8bd1-6d83-4c0e-9a51-9a1f0b6e7d42")


def is_compressed(place: Place) -> bool:
    """Whether a file is compressed, by its name."""
    return PurePosixPath(place.path).suffix == ".gz"


def record_of(row: Row[Any], user_id: str) -> Record:
    """Return the record of a row that EXPORT gave; what the table holds is not checked again."""
    return Record.model_construct(
        id=UUID(bytes=row.id.bytes),
        content=row.content,
        user_id=user_id,
        kind=row.kind,
        tags=tuple(row.tags),
        created_at=row.created_at,
        updated_at=row.updated_at,
        access_count=row.access_count,
        last_accessed_at=row.last_accessed_at,
        metadata=row.meta,
        renewed_at=row.renewed_at,
    )


def line_of(record: Record) -> bytes:
    """Return a record as a line."""
    return record.model_dump_json().encode() + b"\n"


def parsed(line: bytes, number: int, user_id: str, *, rename_user: bool) -> Record:
    """Return the record on a line; raises Refused, naming the line and the reason."""
    try:
        record = Record.model_validate_json(line)
    except ValidationError as error:
        raise RECORDS.refused(number, _reason(error)) from None
    if record.user_id not in {None, user_id} and not rename_user:
        raise RECORDS.refused(
            number,
            "user_id: it is another user's; give rename_user=True to take the records over "
            "under new ids",
        )
    return record


def _reason(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"] == "extra_forbidden":
        return "a key that records do not have"
    # Below a field come the sender's own keys, which are contents.
    place = first["loc"][0] if first["loc"] else "record"
    return f"{place}: {first['msg'][:200]}"


def memory_id(record: Record, user_id: str, *, rename_user: bool) -> UUID:
    """Return the id under which a user gets a record: the same one whenever it is imported."""
    if record.id is None:
        return uuid5(_NAMESPACE, json.dumps([user_id, record.kind, record.content]))
    return second_id(record.id, user_id) if rename_user else record.id


def second_id(taken: UUID, user_id: str) -> UUID:
    """Return the id that takes the place of one that is not this user's."""
    return uuid5(_NAMESPACE, json.dumps([user_id, str(taken)]))


def newcomer_of(record: Record, own_id: UUID, now: datetime) -> Newcomer:
    """Return a record on its way into a space. What is said to happen later happens now."""
    created_at = min(record.created_at or now, now)
    renewed_at = None if record.renewed_at is None else min(record.renewed_at, now)
    accessed_at = None if record.last_accessed_at is None else min(record.last_accessed_at, now)
    tags = tuple(dict.fromkeys(record.tags))
    age_from = max(created_at, renewed_at or created_at)
    return Newcomer(
        Candidate(own_id, record.access_count, accessed_at, tags, age_from),
        record.content,
        record.kind,
        json.dumps(record.metadata),
        guard.facts(record.content),
        created_at,
        min(record.updated_at or created_at, now),
        renewed_at,
    )
