"""What a version's row holds beside its state, and how a row becomes an answer."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as distribution_version
from typing import Any

from sqlalchemy import Row

from bespoke_schemas.programs import Version, VersionSummary
from bespoke_workers.database.tables import ProgramVersion


def answer(row: ProgramVersion) -> Version:
    """Return a version as clients read it."""
    return Version(
        program_id=row.id,
        user_id=row.user_id,
        program=row.program,
        signature=row.signature,
        optimizer=row.optimizer,
        score=row.score,
        state=row.state,
        optimization_result=row.optimization_result,
        tags=tuple(row.tags),
        description=row.description,
        metadata=row.meta,
        fingerprint=row.fingerprint,
        parent_id=row.parent_id,
        size_bytes=row.size_bytes,
        saved_at=row.saved_at,
        checkpoint=row.checkpoint,
        checkpoint_of=row.checkpoint_of,
    )


def summary(row: Row[Any]) -> VersionSummary:
    """Return a row of ``finding.summaries`` as clients read it."""
    return VersionSummary(
        program_id=row.id,
        user_id=row.user_id,
        program=row.program,
        signature=row.signature,
        optimizer=row.optimizer,
        score=row.score,
        tags=tuple(row.tags),
        description=row.description,
        parent_id=row.parent_id,
        size_bytes=row.size_bytes,
        saved_at=row.saved_at,
        active=row.active,
        checkpoint=row.checkpoint,
        checkpoint_of=row.checkpoint_of,
    )


def with_versions(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``metadata`` with the versions of dspy and Python under ``versions``."""
    return {**metadata, "versions": _versions()}


def size_bytes(state: Mapping[str, Any]) -> int:
    """Return the size of a state as compact JSON in UTF-8."""
    return len(json.dumps(state, ensure_ascii=False, separators=(",", ":")).encode())


def age_s(row: ProgramVersion) -> float:
    """Return how many seconds ago a version was saved."""
    return round((datetime.now(UTC) - row.saved_at).total_seconds(), 3)


@cache
def _versions() -> dict[str, str]:
    return {"dspy": distribution_version("dspy"), "python": platform.python_version()}
