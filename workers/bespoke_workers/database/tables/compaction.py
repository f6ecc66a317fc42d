"""Compactions, of one user and of everybody."""

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

from bespoke_workers.database.tables.columns import (
    UNANSWERED,
    json,
    maybe_json,
    maybe_moment,
    moment,
)


class CompactionRun(SQLModel, table=True):
    """One compaction that removed something, as it was reported."""

    __tablename__ = "compaction_run"
    __table_args__ = (Index("compaction_run_by_user", "user_id", "at"),)

    id: UUID = Field(primary_key=True)  # the job's id
    user_id: str = Field(sa_type=Text)
    report: dict[str, Any] = Field(sa_column=json())
    at: datetime = Field(sa_column=moment(default=True))


class CompactionRound(SQLModel, table=True):
    """One compaction of everybody. ``asked`` is what each user's job is told to do."""

    __tablename__ = "compaction_round"
    __table_args__ = (
        Index("compaction_round_open", "state"),
        Index("compaction_round_unanswered", "finished_at", postgresql_where=UNANSWERED),
    )

    id: UUID = Field(primary_key=True)  # the job's id
    asked: dict[str, Any] = Field(sa_column=json())
    oldest_before: datetime | None = Field(default=None, sa_column=maybe_moment())  # None: all
    state: str = Field(sa_type=Text)  # planning, running, done, cancelled
    planned_through: str = Field(default="", sa_type=Text)  # the last user that was looked at
    answered: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(sa_column=moment(default=True))
    finished_at: datetime | None = Field(default=None, sa_column=maybe_moment())


class CompactionPart(SQLModel, table=True):
    """One user's part in a round: a job of their own, and what came of it."""

    __tablename__ = "compaction_part"
    __table_args__ = (Index("compaction_part_by_state", "round_id", "state"),)

    round_id: UUID = Field(primary_key=True, foreign_key="compaction_round.id")
    user_id: str = Field(primary_key=True, sa_type=Text)
    job_id: UUID = Field(unique=True)
    state: str = Field(sa_type=Text)  # queued, then done or failed
    report: dict[str, Any] | None = Field(default=None, sa_column=maybe_json())
    error: str | None = Field(default=None, sa_type=Text)
    sends: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    sent_at: datetime | None = Field(default=None, sa_column=maybe_moment())
