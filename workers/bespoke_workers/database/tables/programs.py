"""Programs: versions, and which of them is in use."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from bespoke_workers.database.tables.columns import counter, json, maybe_moment, moment, tags


def _reading(name: str, *columns: str) -> Index:
    """Return an index of all that is an owner's, checkpoints too.

    What is asked for comes first, then the order of the answer, then what can be asked for
    besides: it is looked at without reading the row.
    """
    return Index(f"program_version_{name}", *columns, "checkpoint")


def _finding(name: str, *columns: str) -> Index:
    """Return an index that finds versions and no checkpoints."""
    name = f"program_version_{name}"
    return Index(name, *columns, postgresql_where=text("checkpoint IS NULL"))


class ProgramVersion(SQLModel, table=True):
    """One immutable version of a program; its id is the id of the job that saved it.

    One with a name in ``checkpoint`` is a checkpoint: it is never in use, and is found by that
    name. ``checkpoint_of`` is the optimization that made it by itself.
    """

    __tablename__ = "program_version"
    __table_args__ = (
        _reading("by_owner", "user_id", "saved_at", "id", "score"),
        _reading("by_program", "user_id", "program", "saved_at", "id", "score", "optimizer"),
        _finding("by_optimizer", "user_id", "optimizer", "saved_at", "id", "score"),
        _finding("by_signature", "user_id", "signature", "saved_at", "id", "score"),
        _finding("by_score", "user_id", "score", "saved_at", "id"),
        _finding("best_of_program", "program", "user_id", "score", "saved_at", "id"),
        _finding("best_of_signature", "signature", "user_id", "score", "saved_at", "id"),
        Index(
            "program_version_by_checkpoint",
            "program",
            "user_id",
            "checkpoint",
            "saved_at",
            postgresql_where=text("checkpoint IS NOT NULL"),
        ),
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
    checkpoint: str | None = Field(default=None, sa_type=Text)
    checkpoint_of: UUID | None = None


class VersionTag(SQLModel, table=True):
    """One tag of a version that is no checkpoint, so that each tag's versions have an order.

    A trigger writes it with the version, and what else can be asked for besides a tag.
    ``user_id`` is empty for the shared base, so that a tag is looked up by equality alone.
    """

    __tablename__ = "program_version_tag"
    __table_args__ = (
        Index(
            "program_version_tag_in_order",
            *("user_id", "tag", "saved_at", "version_id", "score", "program", "optimizer"),
        ),
    )

    version_id: UUID = Field(
        sa_column=Column(ForeignKey("program_version.id", ondelete="CASCADE"), primary_key=True)
    )
    tag: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(sa_type=Text)
    saved_at: datetime = Field(sa_column=moment())
    score: float | None = Field(default=None, sa_column=Column(Double))
    program: str = Field(sa_type=Text)
    optimizer: str | None = Field(default=None, sa_type=Text)


class ActiveProgram(SQLModel, table=True):
    """The pointer to the version in use; ``generation`` rises each time it moves.

    It stays where a rollback leaves nothing in use: ``version_id`` is None then, and a user is
    served by the shared base.
    """

    __tablename__ = "active_program"
    __table_args__ = (
        UniqueConstraint(
            "user_id", "program", name="active_program_owner", postgresql_nulls_not_distinct=True
        ),
        Index("active_program_by_version", "version_id"),
    )

    id: UUID = Field(primary_key=True)
    user_id: str | None = Field(default=None, sa_type=Text)
    program: str = Field(sa_type=Text)
    version_id: UUID | None = Field(default=None, foreign_key="program_version.id")
    generation: int = Field(sa_column=counter())
    moved_at: datetime = Field(sa_column=moment(default=True))


class Activation(SQLModel, table=True):
    """One move of a pointer to a version, which a rollback can undo.

    Of those that are not undone, the newest is what is in use; a rollback goes to the one
    before. ``reason`` is saved, promoted, activated, imported or restored.
    """

    __tablename__ = "activation"
    __table_args__ = (Index("activation_by_version", "version_id"),)

    pointer_id: UUID = Field(
        sa_column=Column(ForeignKey("active_program.id", ondelete="CASCADE"), primary_key=True)
    )
    generation: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    version_id: UUID = Field(
        sa_column=Column(ForeignKey("program_version.id", ondelete="CASCADE"), nullable=False)
    )
    reason: str = Field(sa_type=Text)
    moved_at: datetime = Field(sa_column=moment(default=True))
    undone_at: datetime | None = Field(default=None, sa_column=maybe_moment())


class WholeProgram(SQLModel, table=True):
    """A program pickled whole: whose it is, and the seal without which nobody loads its file."""

    __tablename__ = "whole_program"
    __table_args__ = (Index("whole_program_by_owner", "user_id", "program", "saved_at"),)

    id: UUID = Field(primary_key=True)
    user_id: str | None = Field(default=None, sa_type=Text)
    program: str = Field(sa_type=Text)
    version_id: UUID | None = None
    base_id: UUID | None = None
    versions: dict[str, Any] = Field(sa_column=json())
    size_bytes: int = Field(sa_column=Column(Integer, nullable=False))
    seal: str = Field(sa_type=Text)
    saved_at: datetime = Field(sa_column=moment())


class UserModel(SQLModel, table=True):
    """A model that was trained for one user, or is being trained: what DSPy keeps nowhere.

    Its id is that of the run that trains it, and of the version that is called with it. Until it
    is ``trained`` it has no name; ``file_id`` and ``remote_id`` are written as soon as the provider
    has told them, so that whoever takes the run up starts nothing twice. No key is ever in it.
    """

    __tablename__ = "user_model"
    __table_args__ = (
        Index("user_model_by_owner", "user_id", "program"),
        Index("user_model_by_look", "look_at"),
    )

    id: UUID = Field(primary_key=True)
    user_id: str = Field(sa_type=Text)
    program: str = Field(sa_type=Text)
    provider: str = Field(sa_type=Text)  # local, openai
    base_model: str = Field(sa_type=Text)
    api_base: str | None = Field(default=None, sa_type=Text)
    state: str = Field(sa_type=Text)  # starting, training, trained, failed
    name: str | None = Field(default=None, sa_type=Text)  # at the provider
    file_id: str | None = Field(default=None, sa_type=Text)  # of the training data there
    remote_id: str | None = Field(default=None, sa_type=Text)  # of the training there
    examples: int = Field(sa_column=Column(Integer, nullable=False))
    data_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    data_sha256: str = Field(sa_type=Text)
    trained_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    cost_usd: float | None = Field(default=None, sa_column=Column(Double))
    error: str | None = Field(default=None, sa_type=Text)
    # When it is looked whether anything needs it; none as long as its version is there, by a
    # trigger on the deletion of that.
    look_at: datetime | None = Field(sa_column=maybe_moment())
    created_at: datetime = Field(sa_column=moment(default=True))
    finished_at: datetime | None = Field(default=None, sa_column=maybe_moment())
