"""What MLflow is told of an optimization, and that it is asked for before it is missing."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas.ids import uuid7
from bespoke_workers.cli import preflight
from bespoke_workers.database.tables import OptimizationJob
from bespoke_workers.errors import Misconfigured
from bespoke_workers.observe import events
from bespoke_workers.optimization.tracking.tracked_run import tracked_run
from bespoke_workers.settings import Settings

BEGAN = datetime(2026, 7, 1, 12, tzinfo=UTC)


NAME = "yolanda"  # nothing that an id could contain


def ended(state: str, **columns: Any) -> OptimizationJob:
    return OptimizationJob(
        id=uuid7(),
        user_id=NAME,
        program="support",
        state=state,
        created_at=BEGAN - timedelta(hours=1),
        started_at=BEGAN,
        finished_at=BEGAN + timedelta(seconds=90),
        **{"attempts": 2, **columns},
    )


@pytest.mark.parametrize(
    ("state", "error", "status"),
    [
        ("failed", "Refused", "FAILED"),
        ("parked", "Parked", "FAILED"),
        ("cancelled", "Cancelled", "KILLED"),
    ],
)
def test_of_a_failure_the_type_alone_is_told(state: str, error: str, status: str) -> None:
    row = ended(state, error="the metric raised KeyError", error_type=error, tier="premium")
    row.lm_calls, row.cost_usd = 12, 0.5

    run = tracked_run(row)

    assert run.status == status
    assert run.tags["bespoke.error"] == error
    assert run.tags["bespoke.tier"] == run.params["tier_asked"] == "premium"
    assert (run.metrics["seconds"], run.metrics["lm_calls"]) == (90.0, 12.0)
    assert run.metrics["cost_usd"] == 0.5
    assert "KeyError" not in str(run)


def test_a_user_is_a_hash_and_a_run_that_tried_nothing_has_no_scores() -> None:
    result = {
        "user_id": NAME, "program": "support", "examples": 3, "tier": "none", "optimizer": None,
        "score_before": None, "score_after": None, "promoted": False, "program_id": None,
        "reason": "3 examples; optimizing begins at 10", "seconds": 0.1,
    }  # fmt: skip

    run = tracked_run(ended("succeeded", result=result, batch_id=UUID(int=7)))

    assert run.name == f"support {events.hashed(NAME)}"
    assert NAME not in str(run)
    assert "gain" not in run.metrics
    assert "optimizer" not in run.params
    assert run.tags["bespoke.batch_id"] == str(UUID(int=7))
    assert "bespoke.version_id" not in run.tags


def test_a_missing_package_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preflight.check_tracking(Settings())
    monkeypatch.setenv("BESPOKE_MLFLOW_URI", "http://127.0.0.1:5000")
    preflight.check_tracking(Settings())
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(Misconfigured) as refused:
        preflight.check_tracking(Settings())

    assert "pip install 'bespoke-workers[mlflow]'" in str(refused.value)
    assert "\n" not in str(refused.value)
