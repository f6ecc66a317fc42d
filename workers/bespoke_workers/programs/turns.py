"""One thread at a time for each key, so that what many ask for is made once."""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Turns:
    """Locks by key, which exist only while somebody has one or waits for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._turns: dict[Hashable, _Turn] = {}

    @contextmanager
    def of(self, key: Hashable) -> Iterator[None]:
        """Wait until no other thread is inside with this key."""
        with self._guard:
            turn = self._turns.setdefault(key, _Turn())
            turn.threads += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._guard:
                turn.threads -= 1
                if not turn.threads:
                    del self._turns[key]

    def __len__(self) -> int:
        return len(self._turns)


class _Turn:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.threads = 0
