"""The tables. The database holds the truth; indexes and caches follow it.

Everything a user owns names the user in its key or in an index that starts with it.
``user_id`` is None only where a row belongs to everybody: the shared base of a program.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

_NOW = text("now()")
_NO_TAGS = text("'{}'::text[]")
_NO_JSON = text("'{}'::jsonb")
_SPACE = "memory_space.user_id"
_UNANSWERED = text("finished_at IS NOT NULL AND NOT answered")


def _moment(*, default: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=False, server_default=_NOW if default else None)


def _maybe_moment() -> Any:
    return Column(DateTime(timezone=True), nullable=True)


def _json() -> Any:
    return Column(JSONB, nullable=False, server_default=_NO_JSON)


def _maybe_json() -> Any:
    return Column(JSONB(none_as_null=True), nullable=True)


def _tags() -> Any:
    return Column(ARRAY(Text), nullable=False, server_default=_NO_TAGS)


def _counter() -> Any:
    return Column(BigInteger, nullable=False, server_default="0")


class Job(SQLModel, table=True):
    """A job that took effect, or was parked or cancelled: written with its effect, once."""

    __tablename__ = "job"
    __table_args__ = (Index("job_by_user", "user_id"), Index("job_by_finish", "finished_at"))

    id: UUID = Field(primary_key=True)
    task: str = Field(sa_type=Text)
    user_id: str | None = Field(default=None, sa_type=Text)
    state: str = Field(sa_type=Text)  # done, failed, parked, cancelled; accepted: ends later
    result: dict[str, Any] | None = Field(default=None, sa_column=_maybe_json())
    reason: str | None = Field(default=None, sa_type=Text)
    finished_at: datetime = Field(sa_column=_moment(default=True))


class Delivery(SQLModel, table=True):
    """How often a job's message came again because whoever had it died."""

    __tablename__ = "delivery"

    job_id: UUID = Field(primary_key=True)
    task: str = Field(sa_type=Text)
    redeliveries: int = Field(sa_column=Column(Integer, nullable=False))
    last_at: datetime = Field(sa_column=_moment(default=True))


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
    version: int = Field(sa_column=_counter())
    reload_below: int = Field(sa_column=_counter())
    count: int = Field(sa_column=_counter())
    oldest_created_at: datetime | None = Field(default=None, sa_column=_maybe_moment())
    most_accessed: int = Field(sa_column=_counter())
    stored_total: int = Field(sa_column=_counter())
    relevance_check_at: int = Field(sa_column=_counter())  # in terms of stored_total
    relevance_pause_until: int = Field(sa_column=_counter())  # in terms of stored_total
    kind_marks: dict[str, Any] | None = Field(default=None, sa_column=_maybe_json())
    policy_digest: str | None = Field(default=None, sa_type=Text)
    compacted_version: int = Field(sa_column=_counter())
    embedder: str = Field(sa_type=Text)
    dim: int = Field(sa_column=Column(Integer, nullable=False))
    embedder_since: int = Field(sa_column=_counter())  # the version that it came with
    preset: str | None = Field(default=None, sa_type=Text)
    policy: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    created_at: datetime = Field(sa_column=_moment(default=True))


class Memory(SQLModel, table=True):
    """One thing that a user said. ``embedding`` is float16, little-endian, normalised.

    ``dim`` follows from it and is held to that of the space. Its age counts from ``renewed_at``
    where there is one: when it was said again (in other words, or by a duplicate) or restored.
    """

    __tablename__ = "memory"
    __table_args__ = (
        Index("memory_by_version", "user_id", "version"),
        Index("memory_by_age", "user_id", "created_at"),
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
    tags: list[str] = Field(default_factory=list, sa_column=_tags())
    meta: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    facts: str = Field(sa_type=Text)  # what the dedup guard compares
    embedding: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    dim: int = Field(
        sa_column=Column(Integer, Computed("octet_length(embedding) / 2", persisted=True))
    )
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    access_count: int = Field(sa_column=_counter())
    last_accessed_at: datetime | None = Field(default=None, sa_column=_maybe_moment())
    created_at: datetime = Field(sa_column=_moment())
    updated_at: datetime = Field(sa_column=_moment())
    renewed_at: datetime | None = Field(default=None, sa_column=_maybe_moment())


class SpaceMember(SQLModel, table=True):
    """One user's share in a space; its memories are those of the owner named after it."""

    __tablename__ = "space_member"
    __table_args__ = (Index("space_member_by_user", "user_id"),)

    space: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(primary_key=True, sa_type=Text)
    joined_at: datetime = Field(sa_column=_moment(default=True))


class MemoryArchive(SQLModel, table=True):
    """A memory that compaction or deduplication removed, with the reason; restorable."""

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
    memory: dict[str, Any] = Field(sa_column=_json())  # every other column, without the embedding
    embedding: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    removed_version: int = Field(sa_column=Column(BigInteger, nullable=False))
    removed_at: datetime = Field(sa_column=_moment(default=True))


class EmbedderTarget(SQLModel, table=True):
    """The embedder that all spaces are to have; one row."""

    __tablename__ = "embedder_target"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    embedder: str = Field(sa_type=Text)
    dim: int = Field(sa_column=Column(Integer, nullable=False))
    started_at: datetime = Field(sa_column=_moment())  # the latest of its workers
    seen_at: datetime = Field(sa_column=_moment())  # when one of them last said so


class Reembedding(SQLModel, table=True):
    """A space that is moving to another embedder: whose work it is, until when."""

    __tablename__ = "reembedding"

    user_id: str = Field(primary_key=True, foreign_key=_SPACE, ondelete="CASCADE", sa_type=Text)
    wanted_at: datetime | None = Field(default=None, sa_column=_maybe_moment())
    lease_owner: str | None = Field(default=None, sa_type=Text)
    lease_until: datetime = Field(sa_column=_moment(default=True))
    failures: int = Field(sa_column=_counter())
    # The version with the new embeddings, until its compaction is sent.
    swapped_version: int | None = Field(default=None, sa_column=Column(BigInteger))


class MemoryReembedding(SQLModel, table=True):
    """A memory, as it was at a version, embedded by the embedder that its space is moving to."""

    __tablename__ = "memory_reembedding"

    user_id: str = Field(primary_key=True, foreign_key=_SPACE, ondelete="CASCADE", sa_type=Text)
    memory_id: UUID = Field(primary_key=True)
    embedder: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    embedding: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class CompactionRun(SQLModel, table=True):
    """One compaction that removed something, as it was reported."""

    __tablename__ = "compaction_run"
    __table_args__ = (Index("compaction_run_by_user", "user_id", "at"),)

    id: UUID = Field(primary_key=True)  # the job's id
    user_id: str = Field(sa_type=Text)
    report: dict[str, Any] = Field(sa_column=_json())
    at: datetime = Field(sa_column=_moment(default=True))


class CompactionRound(SQLModel, table=True):
    """One compaction of everybody. ``asked`` is what each user's job is told to do."""

    __tablename__ = "compaction_round"
    __table_args__ = (
        Index("compaction_round_open", "state"),
        Index("compaction_round_unanswered", "finished_at", postgresql_where=_UNANSWERED),
    )

    id: UUID = Field(primary_key=True)  # the job's id
    asked: dict[str, Any] = Field(sa_column=_json())
    oldest_before: datetime | None = Field(default=None, sa_column=_maybe_moment())  # None: all
    state: str = Field(sa_type=Text)  # planning, running, done, cancelled
    planned_through: str = Field(default="", sa_type=Text)  # the last user that was looked at
    answered: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(sa_column=_moment(default=True))
    finished_at: datetime | None = Field(default=None, sa_column=_maybe_moment())


class CompactionPart(SQLModel, table=True):
    """One user's part in a round: a job of their own, and what came of it."""

    __tablename__ = "compaction_part"
    __table_args__ = (Index("compaction_part_by_state", "round_id", "state"),)

    round_id: UUID = Field(primary_key=True, foreign_key="compaction_round.id")
    user_id: str = Field(primary_key=True, sa_type=Text)
    job_id: UUID = Field(unique=True)
    state: str = Field(sa_type=Text)  # queued, then done or failed
    report: dict[str, Any] | None = Field(default=None, sa_column=_maybe_json())
    error: str | None = Field(default=None, sa_type=Text)
    sends: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    sent_at: datetime | None = Field(default=None, sa_column=_maybe_moment())


class ProgramVersion(SQLModel, table=True):
    """One immutable version of a program; its id is the id of the job that saved it."""

    __tablename__ = "program_version"
    __table_args__ = (
        Index("program_version_by_owner", "user_id", "program", "saved_at"),
        Index("program_version_by_score", "program", "user_id", "score"),
        Index("program_version_by_signature", "signature", "user_id", "score"),
    )

    id: UUID = Field(primary_key=True)
    user_id: str | None = Field(default=None, sa_type=Text)
    program: str = Field(sa_type=Text)
    signature: str = Field(sa_type=Text)
    optimizer: str | None = Field(default=None, sa_type=Text)
    score: float | None = Field(default=None, sa_column=Column(Double))
    state: dict[str, Any] = Field(sa_column=_json())
    optimization_result: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    tags: list[str] = Field(default_factory=list, sa_column=_tags())
    description: str = Field(default="", sa_type=Text)
    meta: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    fingerprint: str = Field(sa_type=Text)
    parent_id: UUID | None = None
    size_bytes: int = Field(sa_column=Column(Integer, nullable=False))
    saved_at: datetime = Field(sa_column=_moment())


class ActiveProgram(SQLModel, table=True):
    """The pointer to the version in use; ``generation`` rises each time it moves."""

    __tablename__ = "active_program"
    __table_args__ = (
        UniqueConstraint(
            "user_id", "program", name="active_program_owner", postgresql_nulls_not_distinct=True
        ),
    )

    id: UUID = Field(primary_key=True)
    user_id: str | None = Field(default=None, sa_type=Text)
    program: str = Field(sa_type=Text)
    version_id: UUID = Field(foreign_key="program_version.id")
    generation: int = Field(sa_column=_counter())
    moved_at: datetime = Field(sa_column=_moment(default=True))


class Learner(SQLModel, table=True):
    """One user's examples for one program, in counters: what the planner pages through."""

    __tablename__ = "learner"
    __table_args__ = (Index("learner_by_program", "program", "user_id"),)

    user_id: str = Field(primary_key=True, sa_type=Text)
    program: str = Field(primary_key=True, sa_type=Text)
    example_count: int = Field(sa_column=_counter())
    added_total: int = Field(sa_column=_counter())
    optimized_total: int = Field(sa_column=_counter())  # added_total at the last run
    tier: str | None = Field(default=None, sa_type=Text)  # given by hand


class Example(SQLModel, table=True):
    """One training example of one user; ``digest`` keeps the set free of repeats."""

    __tablename__ = "example"
    __table_args__ = (
        UniqueConstraint("user_id", "program", "digest", name="example_once"),
        Index("example_in_order", "user_id", "program", "position"),
    )

    id: UUID = Field(primary_key=True)
    user_id: str = Field(sa_type=Text)
    program: str = Field(sa_type=Text)
    position: int = Field(sa_column=Column(BigInteger, nullable=False))  # order of adding
    fields: dict[str, Any] = Field(sa_column=_json())
    digest: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_column=_moment(default=True))


class OptimizationJob(SQLModel, table=True):
    """One user's optimization: a row that a worker claims with a lease that it renews."""

    __tablename__ = "optimization_job"
    __table_args__ = (
        UniqueConstraint("batch_id", "user_id", name="optimization_job_once_in_batch"),
        Index("optimization_job_open", "state", "lease_until"),
        Index("optimization_job_by_batch", "batch_id", "state", "id"),
        Index("optimization_job_by_user", "user_id", "program"),
        Index("optimization_job_unanswered", "finished_at", postgresql_where=_UNANSWERED),
    )

    id: UUID = Field(primary_key=True)
    user_id: str = Field(sa_type=Text)
    program: str = Field(sa_type=Text)
    tier: str | None = Field(default=None, sa_type=Text)  # asked for; None: by the amount of data
    batch_id: UUID | None = Field(default=None, foreign_key="batch.id")
    # planned, queued, running, then succeeded, failed, parked or cancelled
    state: str = Field(sa_type=Text)
    cancel_requested: bool = Field(
        default=False, sa_column_kwargs={"server_default": text("false")}
    )
    lease_owner: str | None = Field(default=None, sa_type=Text)
    lease_until: datetime | None = Field(default=None, sa_column=_maybe_moment())
    attempts: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    sends: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    sent_at: datetime = Field(sa_column=_moment(default=True))  # "run this row", the last time
    result: dict[str, Any] | None = Field(default=None, sa_column=_maybe_json())
    error: str | None = Field(default=None, sa_type=Text)
    answered: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(sa_column=_moment(default=True))
    started_at: datetime | None = Field(default=None, sa_column=_maybe_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_maybe_moment())


class Batch(SQLModel, table=True):
    """One optimization of a whole tier; ``key`` makes a night's batch one batch."""

    __tablename__ = "batch"
    __table_args__ = (
        Index("batch_open", "state"),
        Index("batch_unanswered", "finished_at", postgresql_where=_UNANSWERED),
    )

    id: UUID = Field(primary_key=True)
    key: str = Field(sa_type=Text, unique=True)
    program: str = Field(sa_type=Text)
    tier: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)  # planning, running, done, cancelled
    max_concurrent: int = Field(sa_column=Column(Integer, nullable=False))
    min_new_examples: int = Field(sa_column=Column(Integer, nullable=False))
    planned_through: str = Field(default="", sa_type=Text)  # the last user that was planned
    answered: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(sa_column=_moment(default=True))
    finished_at: datetime | None = Field(default=None, sa_column=_maybe_moment())
