"""One optimization that ended, as MLflow is to know it: numbers, ids and names, no contents."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bespoke_schemas.optimization import Optimized
from bespoke_workers.database.tables import OptimizationJob
from bespoke_workers.observe import events
from bespoke_workers.optimization.language_model.usage import FIGURES

STATUSES: Final = {
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "parked": "FAILED",
    "cancelled": "KILLED",
}
METRICS: Final = (
    "score_before",
    "score_after",
    "held_out",
    "lm_calls",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "unpriced_calls",
    "seconds",
)


@dataclass(frozen=True)
class TrackedRun:
    """A run of MLflow. ``state`` is that of the new version, where it is to be kept there too."""

    job_id: str
    program: str
    name: str
    status: str
    started_at: datetime
    finished_at: datetime
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    state: Mapping[str, Any] | None


def tracked_run(
    row: OptimizationJob,
    *,
    versions: Mapping[str, str] | None = None,
    state: Mapping[str, Any] | None = None,
) -> TrackedRun:
    """Return what MLflow is told of a row that ended.

    Of a failure it is the type of the error; ``versions`` are those that made the new version.
    """
    assert row.finished_at is not None
    result = None if row.result is None else Optimized.model_validate(row.result)
    user = events.hashed(row.user_id)
    return TrackedRun(
        job_id=str(row.id),
        program=row.program,
        name=f"{row.program} {user}",
        status=STATUSES[row.state],
        started_at=row.started_at or row.created_at,
        finished_at=row.finished_at,
        params=_params(row, result, versions or {}),
        metrics=_metrics(row, result),
        tags=_tags(row, result, user),
        state=state,
    )


def _params(
    row: OptimizationJob, result: Optimized | None, versions: Mapping[str, str]
) -> dict[str, str]:
    known: dict[str, object] = {"program": row.program, "tier_asked": row.tier}
    if result is not None:
        known |= {
            "optimizer": result.optimizer,
            "tier": result.tier,
            "examples": result.examples,
            "held_out": result.held_out,
        }
    known |= {f"{name}_version": version for name, version in versions.items()}
    return {name: str(value) for name, value in known.items() if value is not None}


def _metrics(row: OptimizationJob, result: Optimized | None) -> dict[str, float]:
    if result is None:
        assert row.finished_at is not None
        began = row.started_at or row.created_at
        taken = {name: float(getattr(row, name)) for name in FIGURES}
        return {"seconds": round((row.finished_at - began).total_seconds(), 3), **taken}
    values = {name: getattr(result, name) for name in METRICS}
    if result.score_before is not None and result.score_after is not None:
        values["gain"] = result.score_after - result.score_before
    return {name: float(value) for name, value in values.items() if value is not None}


def _tags(row: OptimizationJob, result: Optimized | None, user: str) -> dict[str, str]:
    tags = {
        "bespoke.job_id": str(row.id),
        "bespoke.user": user,
        "bespoke.program": row.program,
        "bespoke.attempts": str(row.attempts),
    }
    if row.batch_id is not None:
        tags["bespoke.batch_id"] = str(row.batch_id)
    if row.error_type is not None:
        tags["bespoke.error"] = row.error_type
    if result is None:
        return tags | ({"bespoke.tier": row.tier} if row.tier else {})
    tags |= {
        "bespoke.tier": result.tier,
        "bespoke.promoted": str(result.promoted).lower(),
        "bespoke.reason": result.reason,
    }
    if result.program_id is not None:
        tags["bespoke.version_id"] = str(result.program_id)
    return tags
