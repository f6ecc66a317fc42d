"""Programs: versions, and which of them is in use."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Double,
    Index,
    Integer,
    Text,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from bespoke_workers.database.tables.columns import counter, json, moment, tags


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
    state: dict[str, Any] = Field(sa_column=json())
    optimization_result: dict[str, Any] = Field(default_factory=dict, sa_column=json())
    tags: list[str] = Field(default_factory=list, sa_column=tags())
    description: str = Field(default="", sa_type=Text)
    meta: dict[str, Any] = Field(default_factory=dict, sa_column=json())
    fingerprint: str = Field(sa_type=Text)
    parent_id: UUID | None = None
    size_bytes: int = Field(sa_column=Column(Integer, nullable=False))
    saved_at: datetime = Field(sa_column=moment())


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
    generation: int = Field(sa_column=counter())
    moved_at: datetime = Field(sa_column=moment(default=True))
