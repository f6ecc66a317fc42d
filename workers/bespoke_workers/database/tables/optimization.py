"""Optimizations, of one user and of a tier."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from bespoke_workers.database.tables.columns import (
    UNANSWERED,
    amount,
    counter,
    maybe_json,
    maybe_moment,
    moment,
)

UNTOLD = text("track_at IS NOT NULL")
RUNNING = text("state = 'running'")
UNCOUNTED = text("finished_at IS NOT NULL AND NOT counted")


class OptimizationJob(SQLModel, table=True):
    """One user's optimization: a row that a worker claims with a lease that it renews."""

    __tablename__ = "optimization_job"
    __table_args__ = (
        UniqueConstraint("batch_id", "user_id", name="optimization_job_once_in_batch"),
        Index("optimization_job_open", "state", "lease_until"),
        Index("optimization_job_by_batch", "batch_id", "state", "id"),
        Index("optimization_job_by_user", "user_id", "program"),
        # Two runs of one user and program would both be compared with the same version in use.
        Index(
            "optimization_job_one_running",
            *("user_id", "program"),
            unique=True,
            postgresql_where=RUNNING,
        ),
        Index("optimization_job_unanswered", "finished_at", postgresql_where=UNANSWERED),
        Index("optimization_job_by_finish", "finished_at"),
        Index("optimization_job_uncounted", "batch_id", postgresql_where=UNCOUNTED),
        Index("optimization_job_by_start", "started_at"),
        Index("optimization_job_untold", "track_at", postgresql_where=UNTOLD),
    )

    id: UUID = Field(primary_key=True)
    user_id: str = Field(sa_type=Text)
    program: str = Field(sa_type=Text)
    tier: str | None = Field(default=None, sa_type=Text)  # asked for; None: by the amount of data
    optimizer: str | None = Field(default=None, sa_type=Text)  # asked for; None: the tier's
    options: dict[str, Any] | None = Field(default=None, sa_column=maybe_json())  # of it
    # Whether its messages go to the queue of fine-tuning, as is known once its optimizer is.
    finetuning: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    batch_id: UUID | None = Field(default=None, foreign_key="batch.id")
    # planned, queued, running, then succeeded, failed, parked, cancelled or skipped
    state: str = Field(sa_type=Text)
    cancel_requested: bool = Field(
        default=False, sa_column_kwargs={"server_default": text("false")}
    )
    lease_owner: str | None = Field(default=None, sa_type=Text)
    lease_until: datetime | None = Field(default=None, sa_column=maybe_moment())
    attempts: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    sends: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    sent_at: datetime = Field(sa_column=moment(default=True))  # "run this row", the last time
    result: dict[str, Any] | None = Field(default=None, sa_column=maybe_json())
    error: str | None = Field(default=None, sa_type=Text)
    error_type: str | None = Field(default=None, sa_type=Text)
    # When MLflow is to be told of its end; none: it has been, or is not configured.
    track_at: datetime | None = Field(default=None, sa_column=maybe_moment())
    answered: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    # What it may take at most, where the job says so.
    max_lm_calls: int | None = Field(default=None, sa_column=Column(BigInteger))
    max_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    max_usd: float | None = Field(default=None, sa_column=Column(Double))
    max_seconds: float | None = Field(default=None, sa_column=Column(Double))
    # What it has taken, over all of its workers; of one that runs, as of some seconds ago.
    lm_calls: int = Field(default=0, sa_column=counter())
    prompt_tokens: int = Field(default=0, sa_column=counter())
    completion_tokens: int = Field(default=0, sa_column=counter())
    cost_usd: float = Field(default=0.0, sa_column=amount())
    unpriced_calls: int = Field(default=0, sa_column=counter())  # whose cost is not in cost_usd
    seconds: float = Field(default=0.0, sa_column=amount())  # worked on, not waited
    ran_tier: str | None = Field(default=None, sa_type=Text)  # that it ran as, asked for or not
    # Whether its batch's row has what it spent.
    counted: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(sa_column=moment(default=True))
    started_at: datetime | None = Field(default=None, sa_column=maybe_moment())
    finished_at: datetime | None = Field(default=None, sa_column=maybe_moment())


class LmAnswers(SQLModel, table=True):
    """Answers of a language model that a run has paid for, as lines of JSON, until it has ended."""

    __tablename__ = "lm_answers"

    number: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(), primary_key=True)
    )
    job_id: UUID = Field(foreign_key="optimization_job.id", ondelete="CASCADE", index=True)
    user_id: str = Field(sa_type=Text, index=True)
    answers: str = Field(sa_type=Text)


class Batch(SQLModel, table=True):
    """One optimization of a whole tier; ``key`` makes a night's batch one batch."""

    __tablename__ = "batch"
    __table_args__ = (
        Index("batch_open", "state"),
        Index("batch_by_start", "created_at", "id"),
        Index("batch_by_finish", "finished_at"),
        Index("batch_unanswered", "finished_at", postgresql_where=UNANSWERED),
    )

    id: UUID = Field(primary_key=True)
    key: str = Field(sa_type=Text, unique=True)
    program: str = Field(sa_type=Text)
    tier: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)  # planning, running, done, over_budget, cancelled
    max_concurrent: int = Field(sa_column=Column(Integer, nullable=False))
    min_new_examples: int = Field(sa_column=Column(Integer, nullable=False))
    paused: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    max_lm_calls: int | None = Field(default=None, sa_column=Column(BigInteger))
    max_usd: float | None = Field(default=None, sa_column=Column(Double))
    max_seconds: float | None = Field(default=None, sa_column=Column(Double))
    over_budget: str | None = Field(default=None, sa_type=Text)  # how the budget was spent
    # What each of its runs may take at most.
    run_max_lm_calls: int | None = Field(default=None, sa_column=Column(BigInteger))
    run_max_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    run_max_usd: float | None = Field(default=None, sa_column=Column(Double))
    run_max_seconds: float | None = Field(default=None, sa_column=Column(Double))
    # Of its runs that ended, except those that ended since it was last topped up.
    lm_calls: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0")
    )
    cost_usd: float = Field(
        default=0.0, sa_column=Column(Double, nullable=False, server_default="0")
    )
    planned_through: str = Field(default="", sa_type=Text)  # the last user that was planned
    answered: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(sa_column=moment(default=True))
    finished_at: datetime | None = Field(default=None, sa_column=maybe_moment())
