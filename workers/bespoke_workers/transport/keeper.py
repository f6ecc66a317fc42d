"""What keeps a channel's claims while a task occupies its event loop."""

import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from redis.exceptions import RedisError

log = logging.getLogger(__name__)

JOIN_SECONDS = 1.0


class Keeper:
    """A thread for a worker that runs tasks in its event loop.

    Every ``seconds`` it calls ``keep(client)`` with a redis-py client of its own. It never gives
    a member's sign of life: a loop that does not turn serves nobody.
    """

    def __init__(
        self, keep: Callable[[Any], None], connect: Callable[[], Any], seconds: float
    ) -> None:
        self._keep = keep
        self._connect = connect
        self._seconds = seconds
        self._ended = Event()
        self._thread = Thread(target=self._run, name="bespoke-keeper", daemon=True)

    def start(self) -> None:
        """Start keeping."""
        self._thread.start()

    def stop(self) -> None:
        """Stop keeping; does not wait for a Redis that does not answer."""
        self._ended.set()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        client = self._connect()
        try:
            while not self._ended.wait(self._seconds):
                try:
                    self._keep(client)
                except (RedisError, OSError):
                    log.debug("Redis is away; trying again", exc_info=True)
        finally:
            client.close()
