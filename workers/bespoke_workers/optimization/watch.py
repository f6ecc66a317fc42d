"""What a run's threads tell while they work: how far they are, and which LM calls failed."""

import threading
import time
from collections import Counter
from typing import Any

from dspy.utils.callback import BaseCallback

from bespoke_schemas.jobs import Progress
from bespoke_workers.optimization.language_model.usage import Usage
from bespoke_workers.optimization.snapshots import Snapshots
from bespoke_workers.optimization.stopping import Stop


class Watch(BaseCallback):  # type: ignore[misc]  # dspy ships no types
    """DSPy's callbacks for one run: ends it at an LM call, and counts for its progress."""

    def __init__(self, stop: Stop, usage: Usage, snapshots: Snapshots | None = None) -> None:
        """``snapshots`` keeps the best of the programs that an optimizer evaluates."""
        self._stop = stop
        self._snapshots = snapshots
        self._evaluating: dict[str, Any] = {}
        self._usage = usage
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._step = "starting"
        self._done = 0
        self._total: int | None = None
        self._best: float | None = None
        self.failed_calls: Counter[str] = Counter()

    @property
    def progress(self) -> Progress:
        """How far the run is now."""
        spent = self._usage.spent
        return Progress(
            step=self._step,
            done=self._done,
            total=self._total,
            best_score=self._best,
            lm_calls=spent.lm_calls,
            cost_usd=spent.cost_usd,
        )

    def begin(self, step: str, total: int | None = None) -> None:
        """Begin a step of ``total`` program calls; None counts LM calls, as long as it takes."""
        self._stop.check()
        with self._lock:
            self._step, self._done, self._total = step, 0, total

    def advance(self) -> None:
        """Count one program call of the current step."""
        with self._lock:
            self._done += 1

    def scored(self, score: float) -> None:
        """Keep the best score seen so far, 0 … 1."""
        with self._lock:
            self._best = score if self._best is None else max(self._best, score)

    def failure(self) -> str | None:
        """Say which LM calls failed, by the types of their errors; None if none did."""
        if not self.failed_calls:
            return None
        kinds = ", ".join(sorted(self.failed_calls))
        return f"{self.failed_calls.total()} LM calls failed: {kinds}"

    def drain(self, seconds: float) -> bool:
        """Wait so long for the threads that an ended optimizer left; False if some still run."""
        until = time.monotonic() + seconds
        with self._lock:
            others = self._threads - {threading.current_thread()}
        for thread in others:
            thread.join(max(until - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in others)

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Remember the thread, which may outlive the optimizer that started it."""
        with self._lock:
            self._threads.add(threading.current_thread())

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """End the run here if it is to stop, or must not pay for a call that asks no cache."""
        self._stop.check()
        if not inputs.get("kwargs", {}).get("cache", getattr(instance, "cache", True)):
            self._stop.spend(call_id)

    def on_lm_end(
        self,
        call_id: str,
        outputs: dict[str, Any] | None,
        exception: BaseException | None = None,
    ) -> None:
        """Count a call, and apart one that failed: optimizers swallow it."""
        self._usage.end(call_id)
        with self._lock:
            if self._total is None:
                self._done += 1
            if isinstance(exception, Exception):
                self.failed_calls[type(exception).__name__] += 1

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Remember which program an optimizer evaluates."""
        if self._snapshots is not None:
            with self._lock:
                self._evaluating[call_id] = inputs["program"]

    def on_evaluate_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        """Keep the best score of an optimizer's own evaluations, which are percentages."""
        with self._lock:
            program = self._evaluating.pop(call_id, None)
        if outputs is None:
            return
        score = float(outputs.score) / 100
        self.scored(score)
        if self._snapshots is not None:
            self._snapshots.evaluated(program, score, len(outputs.results))
