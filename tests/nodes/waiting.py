"""Waiting for something to become true, with a time-out and never for longer than needed."""

import threading
import time
from collections.abc import Callable, Iterable

import psutil

SECONDS = 120.0
"""For what takes a second on an idle machine; one that is loaded tenfold is slow, not wrong."""
LOOK_SECONDS = 0.02


def wait_until(true: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Return as soon as `true()` is; raises TimeoutError naming `what` after `seconds`.

    For what nobody announces; where there is an event, wait for the event.
    """
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        never.wait(LOOK_SECONDS)


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended; one that its new parent has not reaped yet has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(processes: Iterable[psutil.Process], seconds: float = SECONDS) -> None:
    """Return when all have ended; raises TimeoutError with those that have not."""
    left = list(processes)
    wait_until(lambda: all(gone(process) for process in left), f"{left} gone", seconds)
