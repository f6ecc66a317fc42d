"""Where each LM call of a run waits for its moment, and where it waits after it failed."""

import threading
import time
from collections import deque
from typing import Any, Final

from dspy.utils.exceptions import LMError, is_retryable_lm_error

from bespoke_workers.optimization.language_model.pace import Pace
from bespoke_workers.optimization.language_model.usage import Spent
from bespoke_workers.optimization.stopping import Stop
from bespoke_workers.patience import backoff_seconds

SETTING: Final = "bespoke_gate"
"""The name in ``dspy.context`` under which threads of a run find its gate."""
OVERLOADED: Final = frozenset({429, 503, 529})
"""Statuses that mean "too much"; any other failure says nothing about other calls."""
RETRIES: Final = 3
"""How often a call that failed is made again, unless it was refused as too much."""
PATIENCE_SECONDS: Final = 600.0
"""For so long a call that is refused as too much is made again and again."""


class Gate:
    """The way of one run's threads to the language model; a stop opens every wait."""

    def __init__(self, pace: Pace, stop: Stop) -> None:
        self._pace = pace
        self._stop = stop
        self._reserved: deque[float] = deque()  # tokens of the calls under way
        self._lock = threading.Lock()

    def admit(self) -> None:
        """Wait until a call may be paid for; raises Stopped if the run is to stop."""
        while True:
            admission = self._pace.admit()
            if admission.wait_s > 0:
                self._stop.wait(admission.wait_s)
            if not admission.granted:
                continue
            if admission.wait_s > 0 and self._pace.held_s() > 0:
                # Refused while this call waited, its moment gone: another is given to it.
                self._pace.settle(admission.tokens, 0)
                continue
            self._reserved.append(admission.tokens)
            return

    def answered(self, tokens: dict[str, Any]) -> None:
        """Count the tokens of a call that was paid for."""
        used = Spent().plus(tokens, None).tokens
        self._pace.settle(self._done() or 0.0, used)

    def failed(self) -> None:
        """Take back what a call reserved: it came to nothing, and is not paid for."""
        reserved = self._done()
        if reserved is None:  # it never came to the gate
            return
        self._stop.refund()
        self._pace.settle(reserved, 0)

    def _done(self) -> float | None:
        """End one call under way, whichever: what they reserved is the same mean."""
        with self._lock:
            return self._reserved.popleft() if self._reserved else None

    def trial(self) -> "Trial":
        """Begin a call, with all its retries."""
        return Trial(self, self._pace, self._stop)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Gate":
        """Return itself: DSPy may copy what its context holds."""
        return self


class Trial:
    """One call and its retries. Only here is a call made again: DSPy and LiteLLM retry nothing."""

    def __init__(self, gate: Gate, pace: Pace, stop: Stop) -> None:
        self._gate = gate
        self._pace = pace
        self._stop = stop
        self._began = time.monotonic()
        self._failures = 0
        self._refusals = 0

    def failed(self, error: LMError) -> None:
        """Return when the call may be made again; raises ``error`` if it is not to be."""
        self._gate.failed()
        if not is_retryable_lm_error(error):
            raise error
        if error.status in OVERLOADED:
            self._refused(error)
            return
        self._failures += 1
        if self._failures > RETRIES:
            raise error
        self._stop.wait(self._delay(error, self._failures))

    def _refused(self, error: LMError) -> None:
        """Hold all workers back; the gate is where this call waits too."""
        self._refusals += 1
        seconds = self._delay(error, self._refusals)
        if time.monotonic() - self._began + seconds > PATIENCE_SECONDS:
            raise error
        self._pace.refused(seconds)

    def _delay(self, error: LMError, failures: int) -> float:
        """Return what the server asks for, or a back-off of our own."""
        asked = error.retry_after
        return float(asked) if asked is not None else backoff_seconds(failures)


def current() -> Gate | None:
    """Return the gate of the run in whose context this thread works, if any."""
    import dspy

    gate: Gate | None = dspy.settings.get(SETTING)
    return gate
