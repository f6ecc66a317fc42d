"""A bell that keeps an event loop from going to sleep."""

import socket
from contextlib import suppress
from typing import Any


class Bell:
    """Rung in a tick of kombu's hub, has it come round again at once.

    What a tick leaves for "soon", such as the acknowledgement of a task that was done in it,
    the hub does after its next wait only; and it has chosen how long to wait before the tick.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._button, self._sound = socket.socketpair()
        self._button.setblocking(False)
        self._sound.setblocking(False)
        loop.add_reader(self._sound, self._heard)

    def ring(self) -> None:
        """Have the loop come round again."""
        with suppress(BlockingIOError):  # it has not heard the last thousands
            self._button.send(b"!")

    def close(self) -> None:
        """Ring no more."""
        if self._sound.fileno() >= 0:
            self._loop.remove(self._sound)
            self._sound.close()
            self._button.close()

    def _heard(self) -> None:
        with suppress(BlockingIOError):
            self._sound.recv(4096)
