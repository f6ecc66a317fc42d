"""Columns that several tables have."""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, Double, Text, text
from sqlalchemy.dialects.postgresql import JSONB

_NOW = text("now()")
_NO_TAGS = text("'{}'::text[]")
_NO_JSON = text("'{}'::jsonb")
SPACE = "memory_space.user_id"
UNANSWERED = text("finished_at IS NOT NULL AND NOT answered")


def moment(*, default: bool = False) -> Any:
    """Return a column: a time that is always there; ``default`` is when the row is written."""
    return Column(DateTime(timezone=True), nullable=False, server_default=_NOW if default else None)


def maybe_moment() -> Any:
    """Return a column: a time, or none."""
    return Column(DateTime(timezone=True), nullable=True)


def json() -> Any:
    """Return a column: a JSON object, empty unless given."""
    return Column(JSONB, nullable=False, server_default=_NO_JSON)


def maybe_json() -> Any:
    """Return a column: a JSON object, or none."""
    return Column(JSONB(none_as_null=True), nullable=True)


def tags() -> Any:
    """Return a column: some words."""
    return Column(ARRAY(Text), nullable=False, server_default=_NO_TAGS)


def counter() -> Any:
    """Return a column: a number that begins at zero."""
    return Column(BigInteger, nullable=False, server_default="0")


def amount() -> Any:
    """Return a column: a sum that begins at zero."""
    return Column(Double, nullable=False, server_default="0")
