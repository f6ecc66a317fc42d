"""A real MLflow tracking server on a free port of this machine, out of an environment apart."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.nodes import ports
from tests.nodes.process import ProcessContainer
from tests.nodes.waiting import wait_until

COMMAND = Path(__file__).parents[2] / ".venv-tracking" / "bin" / "mlflow"
START_SECONDS = 120.0  # it imports much; some 5 s on an idle machine


@contextmanager
def mlflow_server(directory: Path) -> Iterator[str]:
    """Run a server that keeps runs and artifacts in `directory`; yields its URL."""
    assert COMMAND.exists(), "`make install` makes .venv-tracking, which holds the server"
    port = ports.reserved()
    server = ProcessContainer(
        "mlflow server",
        [
            str(COMMAND), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{directory}/runs.db",
            "--artifacts-destination", str(directory / "artifacts"),
        ],
        environment={
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        directory=directory,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    server.start()
    try:
        wait_until(lambda: _answers(server, url), "the MLflow server", START_SECONDS)
        yield url
    finally:
        server.teardown()


def _answers(server: ProcessContainer, url: str) -> bool:
    assert server.status == "running", server.logs()
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
