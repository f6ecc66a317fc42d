"""An MLflow tracking server. The only door to MLflow; its calls block, so threads make them.

MLflow is an extra, and is imported when it is first needed. Only its client is used: the
functions of ``mlflow`` itself keep a current run for the whole process.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from bespoke_workers.errors import BespokeError, Misconfigured, Refused, Transient
from bespoke_workers.optimization.tracking.tracked_run import TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENTS: Final = "bespoke/"
"""An experiment for each program begins with this."""
STATE_FILE: Final = "state.json"
REQUEST_SECONDS: Final = 10
"""A server that is silent for so long counts as away; it is asked again later."""
PAGE: Final = 100
REFUSALS: Final = frozenset({"BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE"})


def require() -> None:
    """Raise Misconfigured unless MLflow's client is installed."""
    if find_spec("mlflow") is None:
        raise Misconfigured(
            "BESPOKE_MLFLOW_URI is set, and MLflow is not installed; "
            "run pip install 'bespoke-workers[mlflow]', or unset it"
        )


class MlflowServer:
    """Keeps one run for each optimization. Raises Transient while the server is away."""

    def __init__(self, url: str) -> None:
        require()
        self._client = _client(url)
        self._url = url

    def record(self, run: TrackedRun) -> None:
        """Write a run, or complete it if some of it is there; twice is as once.

        Raises Refused if the server will not have it.
        """
        try:
            self._record(run)
        except Exception as error:  # noqa: BLE001  # its text may hold the URL's password
            raise _failure(error) from None

    def forget_user(self, user: str) -> int:
        """Delete the runs of a user, named by the hash, with their states; return how many."""
        try:
            found = list(self._tagged_runs(_tagged("user", user)))
            return sum(self._remove(run) for run in found)
        except Exception as error:  # noqa: BLE001  # its text may hold the URL's password
            raise _failure(error) from None

    def _record(self, run: TrackedRun) -> None:
        from mlflow.entities import Metric, Param

        run_id = self._run_id(run)
        at = _ms(run.finished_at)
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, at, 0) for name, value in run.metrics.items()],
            params=[Param(name, value) for name, value in run.params.items()],
        )
        if run.state is not None:
            self._client.log_dict(run_id, dict(run.state), STATE_FILE)
        self._client.set_terminated(run_id, run.status, end_time=at)

    def _run_id(self, run: TrackedRun) -> str:
        """Return the run of this optimization, made now unless it is there.

        Where a request was given up that the server did after all, there may be two: one goes.
        """
        experiment = self._experiment(run.program)
        known = self._client.search_runs(
            [experiment], _tagged("job_id", run.job_id), order_by=["attributes.start_time ASC"]
        )
        for repeated in known[1:]:
            self._remove(repeated)
        if known:
            return str(known[0].info.run_id)
        made = self._client.create_run(
            experiment, start_time=_ms(run.started_at), tags=dict(run.tags), run_name=run.name
        )
        return str(made.info.run_id)

    def _experiment(self, program: str) -> str:
        name = EXPERIMENTS + program
        known = self._client.get_experiment_by_name(name)
        if known is None:
            return str(self._client.create_experiment(name))
        if known.lifecycle_stage == "deleted":
            self._client.restore_experiment(known.experiment_id)
        return str(known.experiment_id)

    def _tagged_runs(self, condition: str) -> Iterator["Run"]:
        """Find runs in each of our experiments, deleted ones too: their states are there still."""
        from mlflow.entities import ViewType

        experiments = self._client.search_experiments(
            ViewType.ALL, filter_string=f"name LIKE '{EXPERIMENTS}%'", max_results=1000
        )
        ids = [experiment.experiment_id for experiment in experiments]
        token: str | None = None
        while ids:
            page = self._client.search_runs(ids, condition, ViewType.ALL, PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _remove(self, run: "Run") -> bool:
        """Delete a run's state for good, and mark the run as deleted, which is all MLflow does.

        False if it was marked before.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        kept = get_artifact_repository(str(run.info.artifact_uri), tracking_uri=self._url)
        for file in kept.list_artifacts():
            kept.delete_artifacts(file.path)  # type: ignore[no-untyped-call]  # it has no types
        if run.info.lifecycle_stage == "deleted":
            return False
        self._client.delete_run(run.info.run_id)
        return True


def _client(url: str) -> "MlflowClient":
    # Read when MLflow is imported, or at each request.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it would tell its makers what is used
    os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # with its password
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(REQUEST_SECONDS)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # upkeep is what tries again
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=url)


def _tagged(tag: str, value: str) -> str:
    assert "'" not in value
    return f"tags.`bespoke.{tag}` = '{value}'"


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _failure(error: Exception) -> BespokeError:
    """Return our error for one of the client's, without its text."""
    code: Any = getattr(error, "error_code", None)
    if code in REFUSALS:
        return Refused(f"MLflow refused a run: {code}")
    return Transient(
        f"BESPOKE_MLFLOW_URI: the tracking server failed ({code or type(error).__name__})"
    )
