"""Erasures: that somebody was erased, and when, by a hash and never by a name."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, Text
from sqlmodel import Field, SQLModel

from bespoke_workers.database.tables.columns import counter, json, maybe_moment, moment, tags


class Erasure(SQLModel, table=True):
    """The fence behind which jobs of an erased user find nothing to do.

    ``subject`` is the SHA-256 of the user's id, or of the owner of a shared space that ended with
    its last member. Jobs made up to ``before`` are refused for good; while the erasure is
    ``stopping``, all are. ``version_floor`` is above every version that the space ever had.
    ``found`` is what was erased so far, in counts. ``ending`` holds what only a resumed erasure
    must know: the shared spaces that ended with the user. It is empty once the erasure is ``done``.
    """

    __tablename__ = "erasure"
    __table_args__ = (Index("erasure_by_job", "job_id"), Index("erasure_by_end", "ended_at"))

    subject: str = Field(primary_key=True, sa_type=Text)
    job_id: UUID
    state: str = Field(sa_type=Text)  # stopping, sweeping, then done
    before: datetime = Field(sa_column=moment())
    version_floor: int = Field(sa_column=counter())
    found: dict[str, Any] = Field(default_factory=dict, sa_column=json())
    ending: list[str] = Field(default_factory=list, sa_column=tags())
    begun_at: datetime = Field(sa_column=moment(default=True))
    ended_at: datetime | None = Field(default=None, sa_column=maybe_moment())
