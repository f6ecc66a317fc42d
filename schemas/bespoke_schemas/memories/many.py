"""The payload that remembers many things at once."""

import json
from collections.abc import Iterator
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bespoke_schemas.fields import Content, Metadata, Name, Tags
from bespoke_schemas.memories.compaction import Compaction
from bespoke_schemas.memories.sharing import InSpace
from bespoke_schemas.payload import Result
from bespoke_schemas.queues import Queue

MANY_LIMIT = 1_000
"""Memories of one payload: one call of an embedder takes as many in seconds."""
MANY_CHARACTERS = 4_194_304
"""Characters of one payload's contents and metadata: Redis holds each message in memory."""


class NewMemory(BaseModel):
    """One of many things that a user said, as `Store` describes one."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    content: Content
    kind: Name = "fact"
    tags: Tags = ()
    metadata: Metadata = Field(default_factory=dict)

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """Show nothing of the contents, whoever prints it."""
        yield from ()


class StoredOne(Result):
    """What became of one of many memories.

    ``memory_id`` is the one kept, also after a merge. ``archived``: there was no room for it,
    since more were given than the user may have.
    """

    memory_id: UUID
    outcome: Literal["inserted", "merged", "archived"]
    merged_with: UUID | None = None
    similarity: float | None = None


class StoredMany(Result):
    """What became of each memory, in the order given, and how many the user has now."""

    stored: tuple[StoredOne, ...]
    count: int
    compaction: Compaction = Compaction()


class StoreMany(InSpace[StoredMany], queue=Queue.MEMORIES):
    """Remember many things that a user said, in the order given: all of them, or none.

    Duplicates among them, and of what is remembered, are merged as by one `Store` after the
    other; then the space is compacted once, and what was just stored stays. Only where more are
    given than ``max_memories`` does room run out: then the first of them go to the archive.
    """

    memories: Annotated[tuple[NewMemory, ...], Field(min_length=1, max_length=MANY_LIMIT)]

    @model_validator(mode="after")
    def _fits_a_message(self) -> Self:
        size = sum(len(one.content) for one in self.memories)
        size += sum(len(json.dumps(one.metadata)) for one in self.memories if one.metadata)
        if size > MANY_CHARACTERS:
            raise ValueError(
                f"holds {size} characters; give at most {MANY_CHARACTERS} in one payload"
            )
        return self
