"""How often a language model may be called, and how long to stay away from it. Pure.

A pace gives each call a moment of its own, one after another in the order of asking, so that
nobody is overtaken for ever. Between two calls lies the longer of what the rate asks for and
the gap that was learned from refusals.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Rate:
    """What all workers together may ask of a model in a minute; None is no limit."""

    requests: float | None = None
    tokens: float | None = None

    @property
    def seconds_a_request(self) -> float:
        """The time between two calls; 0 where nothing limits them."""
        return 60.0 / self.requests if self.requests else 0.0

    @property
    def seconds_a_token(self) -> float:
        """How long the model is left alone for each token; 0 where nothing limits them."""
        return 60.0 / self.tokens if self.tokens else 0.0

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self.requests is not None or self.tokens is not None


@dataclass(frozen=True)
class Admission:
    """When a call may be made: after ``wait_s`` if it is granted, else it is asked for again.

    ``tokens`` were reserved for it, by what calls take on average.
    """

    wait_s: float
    tokens: float = 0.0
    granted: bool = True


class Pace(Protocol):
    """Says when a model may be called."""

    def admit(self) -> Admission:
        """Give a call its moment."""

    def held_s(self) -> float:
        """Return for how many seconds nobody is to call the model, because it refused."""

    def refused(self, seconds: float) -> None:
        """Let nobody call the model for so long: it has just said that it is called too often."""

    def settle(self, reserved: float, used: int) -> None:
        """Count the tokens that a call took; they were ``reserved``. 0: it came to nothing."""


class LocalPace:
    """The pace of one process that knows of no others, or takes one of so many equal shares."""

    def __init__(
        self, rate: Rate, shares: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._next = self._held_until = 0.0
        self._lock = threading.Lock()
        self.shares = shares

    def admit(self) -> Admission:
        """Give a call its moment."""
        with self._lock:
            now = self._clock()
            moment = max(now, self._next, self._held_until)
            self._next = moment + self._rate.seconds_a_request * self.shares
            return Admission(moment - now)

    def held_s(self) -> float:
        """Return for how many seconds nobody of this process is to call the model."""
        return max(self._held_until - self._clock(), 0.0)

    def refused(self, seconds: float) -> None:
        """Let nobody of this process call the model for so long."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)

    def settle(self, reserved: float, used: int) -> None:
        """Leave the model alone for as long as the tokens ask for."""
        with self._lock:
            took = used * self._rate.seconds_a_token * self.shares
            self._next = max(self._next, self._clock()) + took if took else self._next
