"""How long to put up with a Redis that does not answer, and what its errors mean."""

import time

import redis.exceptions
from kombu.exceptions import (  # type: ignore[attr-defined]  # the stubs are of kombu 5.6
    BatchPublishError,
    OperationalError,
)

from bespoke_client.errors import BrokerRefused, BrokerUnavailable
from bespoke_client.settings import Address

REDIS_ERRORS: tuple[type[Exception], ...] = (
    redis.exceptions.RedisError,
    OperationalError,
    BatchPublishError,
    OSError,
)
FIRST_PAUSE = 0.05  # seconds; doubled after each failure
LONGEST_PAUSE = 0.5  # seconds

_REFUSALS = (
    redis.exceptions.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.ResponseError,
)
_PASSING = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
)


class Patience:
    """Counts the time for which one Redis has not answered.

    ``seconds`` is how long that may be, ``until`` a moment (of time.monotonic) at which it
    ends in any case. ``note`` ends the text of the error.
    """

    def __init__(
        self, address: Address, seconds: float, *, until: float | None = None, note: str = ""
    ) -> None:
        self._address = address
        self._seconds = seconds
        self._until = until
        self._note = note
        self.renew()

    def renew(self) -> None:
        """Start again: Redis answered."""
        self._deadline: float | None = None
        self._pause = FIRST_PAUSE

    def after(self, error: Exception) -> float:
        """Return the seconds to wait before the next try.

        Raises BrokerRefused if another try cannot help, BrokerUnavailable if time is up.
        """
        cause = _cause(error)
        reason = " ".join(str(cause).split()) or type(cause).__name__
        if isinstance(cause, _REFUSALS) and not isinstance(cause, _PASSING):
            raise BrokerRefused(
                self._address.shown, self._address.source, reason, self._note
            ) from error
        if self._deadline is None:
            self._deadline = time.monotonic() + self._seconds
            if self._until is not None:
                self._deadline = min(self._deadline, self._until)
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise BrokerUnavailable(
                self._address.shown, self._address.source, self._seconds, reason, self._note
            ) from error
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return min(pause, left)


def _cause(error: BaseException) -> BaseException:
    """Return Redis's own error from under the ones that kombu wraps around it."""
    while isinstance(error, OperationalError | BatchPublishError) and error.__cause__:
        error = error.__cause__
    return error
