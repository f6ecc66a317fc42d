"""Telling whoever watches a job how far it is."""

import time
from typing import Any

import structlog

from bespoke_schemas import Payload
from bespoke_schemas.jobs import Progress
from bespoke_workers.outbox import Tell
from bespoke_workers.runtime import Runtime

EVERY_SECONDS = 0.2
"""More often nobody looks, and each time is a message to Redis."""

_log = structlog.get_logger("bespoke.jobs")


def to_watchers(this: Runtime, payload: Payload[Any]) -> Tell:
    """Return what tells a job's progress to those who watch it, now and then."""
    told_at = float("-inf")

    def tell(progress: Progress) -> None:
        nonlocal told_at
        if time.monotonic() - told_at < EVERY_SECONDS:
            return
        told_at = time.monotonic()
        try:
            this.outbox.progress(payload.id, payload.task, progress)
        except Exception as error:  # noqa: BLE001  # progress is no reason to fail
            _log.warning("progress not told", error=type(error).__name__)

    return tell
