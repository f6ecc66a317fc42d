"""What programs learn from."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlmodel import Field, SQLModel

from bespoke_workers.database.tables.columns import counter, json, moment


class Learner(SQLModel, table=True):
    """One user's examples for one program, in counters: what the planner pages through."""

    __tablename__ = "learner"
    __table_args__ = (Index("learner_by_program", "program", "user_id"),)

    user_id: str = Field(primary_key=True, sa_type=Text)
    program: str = Field(primary_key=True, sa_type=Text)
    example_count: int = Field(sa_column=counter())
    added_total: int = Field(sa_column=counter())
    optimized_total: int = Field(sa_column=counter())  # added_total at the last run
    # added_total when feedback last made an optimization due
    requested_total: int = Field(sa_column=counter())
    # Feedback: outputs that were good, were corrected, were not good
    approved_total: int = Field(sa_column=counter())
    corrected_total: int = Field(sa_column=counter())
    rejected_total: int = Field(sa_column=counter())
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
    fields: dict[str, Any] = Field(sa_column=json())
    digest: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_column=moment(default=True))


class ExampleEmbedding(SQLModel, table=True):
    """An example's inputs as a vector: float16, little-endian, normalised.

    It holds for the embedder and for the text that were embedded; ``digest`` is the text's.
    """

    __tablename__ = "example_embedding"

    example_id: UUID = Field(
        sa_column=Column(Uuid, ForeignKey("example.id", ondelete="CASCADE"), primary_key=True)
    )
    user_id: str = Field(sa_type=Text, index=True)
    embedder: str = Field(sa_type=Text)
    dim: int = Field(sa_column=Column(Integer, nullable=False))
    digest: str = Field(sa_type=Text)
    embedding: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
