"""Stopping a run from outside and from within: deadline, cancellation, lost lease, budget."""

import threading
from dataclasses import dataclass

from bespoke_workers.errors import Permanent


class OutOfBudget(Permanent):
    """A run that met a limit; the version in use before it stays in use."""


class LostLease(Permanent):
    """A run whose row another worker may have taken: it must not write anything."""


class Stopped(BaseException):
    """Raised inside an optimizer to end it.

    Optimizers swallow every Exception, a time limit included; a BaseException that comes
    from a callback ends all of them, with no LM call afterwards. Never leaves a run.
    """


@dataclass(frozen=True)
class Budget:
    """What one run may take: seconds of the wall clock and, unless None, paid LM calls."""

    seconds: float
    lm_calls: int | None = None


class Stop:
    """A switch that any thread may throw; the run's threads see it at their next LM call."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._calls = 0
        self._reason: Permanent | None = None
        self._lock = threading.Lock()
        self._thrown = threading.Event()

    @property
    def reason(self) -> Permanent | None:
        """Why the run is to stop; None while it is to go on."""
        return self._reason

    def request(self, reason: Permanent) -> None:
        """Ask the run to stop; the first reason counts."""
        with self._lock:
            self._throw(reason)

    def paid_before(self, lm_calls: int) -> None:
        """Count the calls that runs of the same job paid for before they died."""
        with self._lock:
            self._calls += lm_calls

    def expire(self) -> None:
        """Ask the run to stop because its time is up."""
        self.request(
            OutOfBudget(
                f"stopped: the optimization took longer than {self._budget.seconds:g} seconds; "
                "raise BESPOKE_OPTIMIZATION_SECONDS or give it fewer examples"
            )
        )

    def check(self) -> None:
        """Raise Stopped if the run is to stop."""
        if self._reason is not None:
            raise Stopped

    def spend(self) -> None:
        """Count one LM call that is about to be paid; raises Stopped instead of overspending."""
        with self._lock:
            limit = self._budget.lm_calls
            if limit is not None and self._calls >= limit:
                self._throw(
                    OutOfBudget(
                        f"stopped: the optimization paid for {limit} LM calls, all it may; "
                        "raise BESPOKE_OPTIMIZATION_LM_CALLS or give it fewer examples"
                    )
                )
            if self._reason is not None:
                raise Stopped
            self._calls += 1

    def refund(self) -> None:
        """Take a call back that was counted and then not answered, so that nobody pays for it."""
        with self._lock:
            self._calls -= 1

    def wait(self, seconds: float) -> None:
        """Wait for so long; raises Stopped as soon as the run is to stop."""
        if self._thrown.wait(seconds):
            raise Stopped

    def _throw(self, reason: Permanent) -> None:
        self._reason = self._reason or reason
        self._thrown.set()
