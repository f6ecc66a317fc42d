"""Something of which each process has its own: sockets and threads do not survive a fork."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Makes something at first use in each process; what came through a fork is left alone."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def here(self) -> T:
        """Return what this process has."""
        pid = os.getpid()
        made = self._made.get(pid)
        if made is None:
            # setdefault is atomic, and a lock could be held by a thread that the fork left out.
            made = self._made.setdefault(pid, self._make())
        return made

    def pop(self) -> T | None:
        """Forget what this process has, and return it; None if it made nothing."""
        return self._made.pop(os.getpid(), None)
