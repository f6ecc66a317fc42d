"""Memories: spaces, what is in them, and what left them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from bespoke_workers.database.tables.columns import (
    counter,
    json,
    maybe_json,
    maybe_moment,
    moment,
    tags,
)


class MemorySpace(SQLModel, table=True):
    """One user's memories in counters and watermarks, so that no store has to count rows.

    ``version`` rises with every change of what the index holds; ``reload_below`` is the
    version under which a cached index must be loaded anew, since the list of what was
    removed no longer reaches back to it.
    """

    __tablename__ = "memory_space"
    __table_args__ = (
        Index("memory_space_by_age", "oldest_created_at"),
        Index("memory_space_by_embedder", "embedder", "dim"),
        UniqueConstraint("user_id", "dim", name="memory_space_dim"),
    )

    user_id: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(sa_column=counter())
    reload_below: int = Field(sa_column=counter())
    count: int = Field(sa_column=counter())
    oldest_created_at: datetime | None = Field(default=None, sa_column=maybe_moment())
    most_accessed: int = Field(sa_column=counter())
    stored_total: int = Field(sa_column=counter())
    relevance_check_at: int = Field(sa_column=counter())  # in terms of stored_total
    relevance_pause_until: int = Field(sa_column=counter())  # in terms of stored_total
    kind_marks: dict[str, Any] | None = Field(default=None, sa_column=maybe_json())
    policy_digest: str | None = Field(default=None, sa_type=Text)
    compacted_version: int = Field(sa_column=counter())
    embedder: str = Field(sa_type=Text)
    dim: int = Field(sa_column=Column(Integer, nullable=False))
    preset: str | None = Field(default=None, sa_type=Text)
    policy: dict[str, Any] = Field(default_factory=dict, sa_column=json())
    created_at: datetime = Field(sa_column=moment(default=True))


class Memory(SQLModel, table=True):
    """One thing that a user said. ``embedding`` is float16, little-endian, normalised.

    ``dim`` follows from it and is held to that of the space. Its age counts from ``renewed_at``
    where there is one: when it was said again (in other words, or by a duplicate) or restored.
    """

    __tablename__ = "memory"
    __table_args__ = (
        Index("memory_by_version", "user_id", "version"),
        ForeignKeyConstraint(
            ["user_id", "dim"],
            ["memory_space.user_id", "memory_space.dim"],
            name="memory_in_space",
            deferrable=True,
        ),
        CheckConstraint("octet_length(embedding) % 2 = 0", name="memory_whole"),
    )

    id: UUID = Field(primary_key=True)
    user_id: str = Field(sa_type=Text)
    content: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    tags: list[str] = Field(default_factory=list, sa_column=tags())
    meta: dict[str, Any] = Field(default_factory=dict, sa_column=json())
    facts: str = Field(sa_type=Text)  # what the dedup guard compares
    embedding: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    dim: int = Field(
        sa_column=Column(Integer, Computed("octet_length(embedding) / 2", persisted=True))
    )
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    access_count: int = Field(sa_column=counter())
    last_accessed_at: datetime | None = Field(default=None, sa_column=maybe_moment())
    created_at: datetime = Field(sa_column=moment())
    updated_at: datetime = Field(sa_column=moment())
    renewed_at: datetime | None = Field(default=None, sa_column=maybe_moment())


class SpaceMember(SQLModel, table=True):
    """One user's share in a space; its memories are those of the owner named after it."""

    __tablename__ = "space_member"
    __table_args__ = (Index("space_member_by_user", "user_id"),)

    space: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(primary_key=True, sa_type=Text)
    joined_at: datetime = Field(sa_column=moment(default=True))


class MemoryArchive(SQLModel, table=True):
    """A memory that left a space, with the reason; restorable.

    Its embedding is not kept: a restoration makes one by the embedder that the space has then.
    """

    __tablename__ = "memory_archive"
    __table_args__ = (
        Index("memory_archive_by_version", "user_id", "removed_version"),
        Index("memory_archive_by_time", "removed_at"),
    )

    id: UUID = Field(primary_key=True)  # of the removal
    memory_id: UUID
    user_id: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)  # as Archive.take has them
    run_id: UUID  # the job whose compaction or deduplication removed it
    kept_id: UUID | None = None  # the memory that stays in its place
    similarity: float | None = Field(default=None, sa_column=Column(Double))
    content: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    tags: list[str] = Field(default_factory=list, sa_column=tags())
    meta: dict[str, Any] = Field(default_factory=dict, sa_column=json())
    facts: str = Field(sa_type=Text)
    access_count: int = Field(sa_column=counter())
    last_accessed_at: datetime | None = Field(default=None, sa_column=maybe_moment())
    created_at: datetime = Field(sa_column=moment())
    updated_at: datetime = Field(sa_column=moment())
    renewed_at: datetime | None = Field(default=None, sa_column=maybe_moment())
    removed_version: int = Field(sa_column=Column(BigInteger, nullable=False))
    removed_at: datetime = Field(sa_column=moment(default=True))
