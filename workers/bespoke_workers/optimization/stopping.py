"""Stopping a run from outside and from within: deadline, cancellation, lost lease, budget."""

import threading
import time

from bespoke_workers.errors import Permanent
from bespoke_workers.optimization.budget import Budget, Limit
from bespoke_workers.optimization.language_model.usage import Usage, current_call


class OutOfBudget(Permanent):
    """A run that met a limit; the version in use before it stays in use."""


class LostLease(Permanent):
    """A run whose row another worker may have taken: it must not write anything."""


class Stopped(BaseException):
    """Raised inside an optimizer to end it.

    Optimizers swallow every Exception, a time limit included; a BaseException that comes
    from a callback ends all of them, with no LM call afterwards. Never leaves a run.
    """


class Stop:
    """A switch that any thread may throw; the run's threads see it at their next LM call."""

    def __init__(
        self, budget: Budget, usage: Usage | None = None, *, seconds_before: float = 0.0
    ) -> None:
        """``usage`` counts the run's calls; ``seconds_before`` is what died runs of it took."""
        self._budget = budget
        self._usage = usage or Usage()
        self._began = time.monotonic() - seconds_before
        self._reason: Permanent | None = None
        self._lock = threading.Lock()
        self._thrown = threading.Event()

    @property
    def reason(self) -> Permanent | None:
        """Why the run is to stop; None while it is to go on."""
        return self._reason

    @property
    def seconds(self) -> float:
        """How long the job was worked on by now."""
        return time.monotonic() - self._began

    @property
    def seconds_left(self) -> float:
        """How long it may still be worked on."""
        return max(self._budget.seconds - self.seconds, 0.0)

    def request(self, reason: Permanent) -> None:
        """Ask the run to stop; the first reason counts."""
        with self._lock:
            self._throw(reason)

    def expire(self) -> None:
        """Ask the run to stop because its time is up."""
        self.request(OutOfBudget(f"stopped: {self._budget.told('seconds', self._usage.spent)}"))

    def check(self) -> None:
        """Raise Stopped if the run is to stop."""
        if self._reason is not None:
            raise Stopped

    def spend(self, call: str | None = None) -> None:
        """Count one LM call that is about to be paid; raises Stopped instead of overspending.

        How many tokens it takes is known once it has ended: by what the calls take that are under
        way when such a limit is met, as many as the run has threads, it may be exceeded at most.
        """
        self.check()
        limit: Limit | None = self._usage.begin(call or current_call(), self._budget.broken)
        if limit is not None:
            self.request(OutOfBudget(f"stopped: {self._budget.told(limit, self._usage.spent)}"))
            raise Stopped

    def refund(self) -> None:
        """Take a call back that was counted and then not answered, so that nobody pays for it."""
        self._usage.refund()

    def wait(self, seconds: float) -> None:
        """Wait for so long; raises Stopped as soon as the run is to stop."""
        if self._thrown.wait(seconds):
            raise Stopped

    def _throw(self, reason: Permanent) -> None:
        self._reason = self._reason or reason
        self._thrown.set()
