"""A run whose pool process is lost has not failed: its row is there, and is taken up again.

Celery would tell whoever waits that the job has failed, for its message was acknowledged.
"""

from typing import Any

import structlog
from celery.exceptions import WorkerLostError
from celery.worker import state
from celery.worker.request import Request

_log = structlog.get_logger("bespoke.jobs")


class LeasedRequest(Request):
    """A delivery of a job that is guarded by a lease instead of by its message."""

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Leave the job to its lease where its process is gone; else do what Celery does."""
        error = exc_info.exception
        error = getattr(error, "exc", error)  # what a process sends is wrapped, with its traceback
        if not isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            return super().on_failure(exc_info, send_failed_event, return_ok)
        state.task_ready(self)
        _log.warning("its process is gone; the job is taken up again", job=self.id, task=self.name)
        return None
