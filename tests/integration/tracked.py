"""What the tests of tracking share: what MLflow holds, and what is yet to be told."""

import threading
from typing import Any
from uuid import UUID

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from pydantic import SecretStr

from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers.errors import Permanent
from bespoke_workers.optimization.tracking.tracked_run import TrackedRun
from bespoke_workers.optimization.tracking.tracking import Tracking
from tests.integration.optimizing import Worker
from tests.nodes.waiting import SECONDS


def runs(client: MlflowClient) -> list[Run]:
    experiments = client.search_experiments(ViewType.ALL)
    return list(client.search_runs([one.experiment_id for one in experiments]))


def tracking(url: str, **options: Any) -> dict[str, Any]:
    return {"mlflow_uri": SecretStr(url), **options}


async def told(worker: Worker) -> int:
    return await Tracking(worker.database, worker.settings).tell()


async def untold(worker: Worker) -> list[UUID]:
    statement = "SELECT id FROM optimization_job WHERE track_at IS NOT NULL"
    return list(await worker.execute(statement))


async def come_due(worker: Worker) -> None:
    await worker.execute("UPDATE optimization_job SET track_at = now() WHERE track_at IS NOT NULL")


async def waits_for_a_lock(worker: Worker) -> bool:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(await worker.execute(f"{waiting} AND datname = current_database()"))


class HeldBack:
    """Stops a service before it tells MLflow of anything."""

    def __init__(self, service: Tracking) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._record = service._record
        service._record = self.record  # type: ignore[method-assign]  # this one

    def record(self, run: TrackedRun) -> None:
        self.begun.set()
        assert self.go_on.wait(SECONDS)
        self._record(run)


async def broken(worker: Worker, program: str) -> None:
    """Optimize a program that fails."""
    await worker.teach("ada", 20, program)
    payload = OptimizeUser(user_id="ada", program=program)
    await worker.optimization.accept(payload)
    with pytest.raises(Permanent):
        await worker.optimization.run(payload.id)
