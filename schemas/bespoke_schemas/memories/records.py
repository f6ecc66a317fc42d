"""Payloads that take a user's memories out and bring them in, as records."""

from collections.abc import Iterator
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bespoke_schemas.fields import Content, Metadata, Moment, Name, OwnerId, Tags, Text
from bespoke_schemas.memories.compaction import Compaction
from bespoke_schemas.memories.many import MANY_LIMIT
from bespoke_schemas.memories.sharing import InSpace
from bespoke_schemas.payload import Result
from bespoke_schemas.queues import Queue

ACCESS_LIMIT = 1_000_000_000


class Record(BaseModel):
    """One memory as files of them have it: a JSON object on a line of its own.

    Only ``content`` must be given. Without an ``id``, the memory gets one that follows from its
    user and its content; without ``created_at``, it is as new as the import. ``renewed_at`` is
    when it was said again, if it was.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    id: UUID | None = None
    content: Content
    user_id: OwnerId | None = None
    kind: Name = "fact"
    tags: Tags = ()
    created_at: Moment | None = None
    updated_at: Moment | None = None
    access_count: int = Field(default=0, ge=0, le=ACCESS_LIMIT)
    last_accessed_at: Moment | None = None
    metadata: Metadata = Field(default_factory=dict)
    renewed_at: Moment | None = None

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """Show nothing of the contents, whoever prints it."""
        yield from ()


class Exported(Result):
    """How many memories were exported, and where they lie or, inline, what they are.

    ``size_bytes`` and ``sha256`` are those of the file.
    """

    url: str | None
    count: int
    size_bytes: int = 0
    sha256: str | None = None
    records: tuple[Record, ...] = ()


class Export(InSpace[Exported], queue=Queue.EXPORTS):
    """Write a user's memories, oldest first, to a file of JSON lines under the storage URL.

    ``name`` is a file name relative to the storage URL, without it the file is named after this
    job; it is compressed if its name ends in ``.gz``. All memories, or those of a ``kind`` and
    with all of some ``tags``. With ``inline`` nothing is written: the result holds the records,
    for up to a thousand of them.
    """

    name: Text | None = None
    kind: Name | None = None
    tags: Tags = ()
    inline: bool = False

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.inline and self.name is not None:
            raise ValueError("give either a name or inline=True, and not both")
        return self


class Imported(Result):
    """What became of the records of an import, and how many memories the user has now.

    ``merged_count`` of those imported were duplicates. ``present_count`` were there before, and
    ``archived_count`` had been and are in the archive by compaction or as duplicates: both were
    left alone.
    """

    imported_count: int
    merged_count: int
    present_count: int
    archived_count: int
    count: int
    compaction: Compaction = Compaction()


class Import(InSpace[Imported], queue=Queue.MEMORIES):
    """Bring records in: those given, or the lines of a file under the storage URL.

    Every record is checked before the first one is written. Ids, times and counts are kept,
    what is there already is left alone, duplicates are merged, and the space is compacted once
    at the end: the same import twice is as one. Records of another user are refused, unless
    ``rename_user`` takes them over, as memories of this user under new ids.
    """

    records: Annotated[tuple[Record, ...], Field(max_length=MANY_LIMIT)] | None = None
    source: Text | None = None
    rename_user: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.records is None) == (self.source is None):
            raise ValueError("give either records or a source, and not both")
        return self
