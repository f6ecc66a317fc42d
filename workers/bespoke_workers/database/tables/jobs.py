"""Jobs: what took effect, and what came again."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Index,
    Integer,
    Text,
    text,
)
from sqlmodel import Field, SQLModel

from bespoke_workers.database.tables.columns import maybe_json, moment

WITHOUT_EFFECT = text("state IN ('failed', 'parked', 'cancelled')")
"""Of which jobs there is an index by itself; a statement uses it that says so in these words."""


OF_SHARED_SPACE = text("starts_with(user_id, chr(31))")
"""Of which jobs an erasure reads the results, which name who shares a space."""


class Job(SQLModel, table=True):
    """A job that took effect, or was parked or cancelled: written with its effect, once."""

    __tablename__ = "job"
    __table_args__ = (
        Index("job_by_user", "user_id", "finished_at", "id"),
        Index("job_by_finish", "finished_at", "id"),
        Index("job_without_effect", "finished_at", "id", postgresql_where=WITHOUT_EFFECT),
        Index("job_of_shared_space", "user_id", postgresql_where=OF_SHARED_SPACE),
    )

    id: UUID = Field(primary_key=True)
    task: str = Field(sa_type=Text)
    user_id: str | None = Field(default=None, sa_type=Text)
    state: str = Field(sa_type=Text)  # done, failed, parked, cancelled; accepted: ends later
    result: dict[str, Any] | None = Field(default=None, sa_column=maybe_json())
    reason: str | None = Field(default=None, sa_type=Text)
    finished_at: datetime = Field(sa_column=moment(default=True))


class Delivery(SQLModel, table=True):
    """How often a job's message came again because whoever had it died."""

    __tablename__ = "delivery"

    job_id: UUID = Field(primary_key=True)
    task: str = Field(sa_type=Text)
    redeliveries: int = Field(sa_column=Column(Integer, nullable=False))
    last_at: datetime = Field(sa_column=moment(default=True))
