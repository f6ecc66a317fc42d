"""Waiting for a queue to hold a message without taking it."""

from time import monotonic
from typing import Any


class Peek:
    """One queue watched over one connection.

    `connection` is a redis-py connection of its own; `seconds` bounds each wait on the server,
    so a reply that is overdue by much means that the connection is dead.
    """

    PREFIX = "PEEK:"
    REST_SECONDS = 1.0

    def __init__(self, connection: Any, queue: str, seconds: float) -> None:
        self.connection = connection
        self.queue = queue
        self.seconds = seconds
        self.waiting = False
        self._asked_at = 0.0
        self._rests_until = 0.0

    @property
    def resting(self) -> bool:
        """Whether Redis refused a moment ago and is not to be asked yet."""
        return monotonic() < self._rests_until

    def rest(self) -> None:
        """Do not ask for a while."""
        self._rests_until = monotonic() + self.REST_SECONDS

    @property
    def kind(self) -> str:
        """What the poller files its socket under."""
        return self.PREFIX + self.queue

    def ask(self) -> None:
        """Ask for word of a message; the reply arrives on the socket."""
        self.waiting = True
        self._asked_at = monotonic()
        self.connection.send_command(
            "BLMOVE", self.queue, self.queue, "RIGHT", "RIGHT", self.seconds, check_health=False
        )

    def answer(self) -> bool:
        """Read the reply: whether the queue holds a message."""
        self.waiting = False
        return self.connection.read_response(disable_decoding=True) is not None

    def overdue(self, grace: float) -> bool:
        """Whether the reply is missing for `grace` seconds more than the server may take."""
        return self.waiting and monotonic() - self._asked_at > self.seconds + grace

    def close(self) -> None:
        """Give up waiting; nothing has been taken, so nothing is to be put back."""
        self.waiting = False
        self.connection.disconnect()
