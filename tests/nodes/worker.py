"""A worker node that is a `celery worker` process on this machine."""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from pytest_celery import CeleryTestWorker

from tests.nodes.nursery import nursery
from tests.nodes.process import Process, ProcessContainer


class WorkerContainer(ProcessContainer):
    """`python -m celery -A <app> worker` with its queues, pool and environment."""

    def __init__(
        self,
        app: str,
        *,
        environment: Mapping[str, str],
        queues: str = "celery",
        concurrency: int = 1,
        pool: str = "prefork",
        arguments: Sequence[str] = (),
        log_level: str = "INFO",
        directory: Path | None = None,
        preloaded: bool = False,
    ) -> None:
        """`queues` is a comma-separated list; `arguments` go to `celery worker` as they are.

        Above INFO, a worker does not say that it is ready. `preloaded` forks it from a process
        that has done the imports, see `nursery.py`.
        """
        super().__init__(
            f"worker of {queues}",
            [],
            environment=environment,
            directory=directory,
            ready_prompt=" ready.",
        )
        self._queues = queues
        self._log_level = log_level
        self._preloaded = preloaded
        self._command = [
            *(sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel", log_level),
            *("--hostname", f"{self.worker_name()}@{self.id}", "--queues", queues),
            *("--concurrency", str(concurrency), "--pool", pool),
            # Looking for other workers first would take a second of each start.
            *("--without-mingle", "--without-gossip", *arguments),
        ]

    def _spawn(self) -> Process:
        if not self._preloaded:
            return super()._spawn()
        _, _, module, *arguments = self._command
        return nursery().start(module, arguments, self._environment, self._directory or Path.cwd())

    def log(self) -> str:
        """All that the worker and its children have printed so far."""
        return self.logs()

    def version(self) -> str:
        """Version of Celery."""
        return version("celery")

    def log_level(self) -> str:
        """Log level of the worker."""
        return self._log_level

    def worker_name(self) -> str:
        """The part of the node name before the @."""
        return "worker"

    def worker_queue(self) -> str:
        """The first of the queues that it consumes."""
        return self._queues.partition(",")[0]


class ProcessWorker(CeleryTestWorker):  # type: ignore[misc]  # pytest-celery ships no types
    """Made with a WorkerContainer."""

    def get_running_processes_info(
        self, columns: list[str] | None = None, filters: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The worker's main process and its descendants, as psutil describes them."""
        family = [psutil.Process(self.container.pid), *self.container.children()]
        found = [process.as_dict(columns) for process in family]
        wanted = (filters or {}).items()
        return [info for info in found if all(info.get(key) == value for key, value in wanted)]
