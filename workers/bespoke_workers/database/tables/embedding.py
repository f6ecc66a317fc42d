"""The change of embedders."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    Text,
)
from sqlmodel import Field, SQLModel

from bespoke_workers.database.tables.columns import SPACE, counter, maybe_moment, moment


class EmbedderTarget(SQLModel, table=True):
    """The embedder that all spaces are to have; one row."""

    __tablename__ = "embedder_target"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    embedder: str = Field(sa_type=Text)
    dim: int = Field(sa_column=Column(Integer, nullable=False))
    started_at: datetime = Field(sa_column=moment())  # the latest of its workers
    seen_at: datetime = Field(sa_column=moment())  # when one of them last said so


class Reembedding(SQLModel, table=True):
    """A space that is moving to another embedder: whose work it is, until when."""

    __tablename__ = "reembedding"

    user_id: str = Field(primary_key=True, foreign_key=SPACE, ondelete="CASCADE", sa_type=Text)
    wanted_at: datetime | None = Field(default=None, sa_column=maybe_moment())
    lease_owner: str | None = Field(default=None, sa_type=Text)
    lease_until: datetime = Field(sa_column=moment(default=True))
    failures: int = Field(sa_column=counter())
    # The version with the new embeddings, until its compaction is sent.
    swapped_version: int | None = Field(default=None, sa_column=Column(BigInteger))


class MemoryReembedding(SQLModel, table=True):
    """A memory, as it was at a version, embedded by the embedder that its space is moving to."""

    __tablename__ = "memory_reembedding"

    user_id: str = Field(primary_key=True, foreign_key=SPACE, ondelete="CASCADE", sa_type=Text)
    memory_id: UUID = Field(primary_key=True)
    embedder: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    embedding: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
