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

    def __init__(self, every: int | None, dump: Callable[[Any], Mapping[str, Any]]) -> None:
        """``dump`` returns a program's state; each ``every``-th evaluation makes a snapshot.

        With None, none is made while the run goes on.
        """
        self._every = every
        self._dump = dump
        self._lock = threading.Lock()
        self._evaluations = 0
        self._best: tuple[float, Mapping[str, Any]] | None = None
        self._judged_by = 0
        self._waiting: Snapshot | None = None

    @property
    def waiting(self) -> Snapshot | None:
        """The newest snapshot that is not saved yet."""
        return self._waiting

    @property
    def best(self) -> Snapshot | None:
        """The best program by now, None before the first evaluation."""
        with self._lock:
            return None if self._best is None else Snapshot(self._evaluations, *self._best)

    def evaluated(self, program: Any, score: float, examples: int = 1) -> None:
        """Count an evaluation on so many examples, and keep the program if it is the best.

        Of scores on more examples the best counts; a few may be answered by luck.
        """
        with self._lock:
            self._evaluations += 1
            if self._is_better(score, examples):
                try:
                    self._best, self._judged_by = (score, self._dump(program)), examples
                except Exception as error:  # noqa: BLE001  # a checkpoint is no reason to fail
                    _log.warning("evaluation not kept", error=type(error).__name__)
            if self._every and self._best is not None and self._evaluations % self._every == 0:
                self._waiting = Snapshot(self._evaluations, *self._best)

    def _is_better(self, score: float, examples: int) -> bool:
        if self._best is None or examples > self._judged_by:
            return True
        return examples == self._judged_by and score > self._best[0]

    def saved(self, snapshot: Snapshot) -> None:
        """Let go of a snapshot that is saved, unless a newer one has taken its place."""
        with self._lock:
            if self._waiting is snapshot:
                self._waiting = None
