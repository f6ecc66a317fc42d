"""The best program that a run has seen so far, every so many evaluations."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

_log = structlog.get_logger("bespoke.optimization")


@dataclass(frozen=True)
class Snapshot:
    """The best program after so many evaluations: its state, and its score, 0 … 1."""

    evaluation: int
    score: float
    state: Mapping[str, Any]


class Snapshots:
    """Filled by the threads of a run, emptied by whoever saves; only the newest one waits."""

    def __init__(self, every: int, dump: Callable[[Any], Mapping[str, Any]]) -> None:
        """``dump`` returns a program's state; each ``every``-th evaluation makes a snapshot."""
        self._every = every
        self._dump = dump
        self._lock = threading.Lock()
        self._evaluations = 0
        self._best: tuple[float, Mapping[str, Any]] | None = None
        self._waiting: Snapshot | None = None

    @property
    def waiting(self) -> Snapshot | None:
        """The newest snapshot that is not saved yet."""
        return self._waiting

    def evaluated(self, program: Any, score: float) -> None:
        """Count an evaluation, and keep the program if none scored higher before."""
        with self._lock:
            self._evaluations += 1
            if self._best is None or score > self._best[0]:
                try:
                    self._best = score, self._dump(program)
                except Exception as error:  # noqa: BLE001  # a checkpoint is no reason to fail
                    _log.warning("evaluation not kept", error=type(error).__name__)
            if self._best is not None and self._evaluations % self._every == 0:
                self._waiting = Snapshot(self._evaluations, *self._best)

    def saved(self, snapshot: Snapshot) -> None:
        """Let go of a snapshot that is saved, unless a newer one has taken its place."""
        with self._lock:
            if self._waiting is snapshot:
                self._waiting = None
