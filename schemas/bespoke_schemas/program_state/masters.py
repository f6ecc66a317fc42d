"""Modules that are kept to be served: the least recently used go first, and all are counted."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from bespoke_schemas.program_state.copying import copier

if TYPE_CHECKING:
    import dspy

SIZE = 256
"""Modules that are kept. One with 100 demos takes about 0.1 MiB."""
STATES_LIMIT = 64 * 2**20
"""Bytes of states as JSON that are kept; as Python's objects they take several times that."""

Key = tuple[str, str | None]
"""A program and a user; None is the shared base."""


class Master:
    """A program with the state of one moment. It is never handed out, only copies of it.

    ``made_of`` tells from which versions it was made: another one is invalid. ``problem`` says
    why it is not what is in use, None if it is. ``build`` makes it anew.
    """

    def __init__(
        self,
        build: Callable[[], "dspy.Module"],
        made_of: Hashable,
        state_bytes: int = 0,
        problem: str | None = None,
    ) -> None:
        self.made_of = made_of
        self.state_bytes = state_bytes
        self.problem = problem
        copied = copier(build())
        # Where copies do, what ``build`` holds, the stored state, is needed no more.
        self._lend = copied if _works(copied) else build

    def lend(self) -> "dspy.Module":
        """Return a module of the caller's own."""
        return self._lend()


def _works(copied: Callable[[], object]) -> bool:
    try:
        copied()
    except Exception:  # noqa: BLE001  # copying a lock or a socket fails in any way
        return False
    return True


@dataclass(frozen=True)
class Stats:
    """What became of the calls since the process began, and what is kept now.

    ``invalidated``: another version came into use, or the user was to be forgotten.
    ``evictions``: there was no room.
    """

    hits: int
    misses: int
    evictions: int
    invalidated: int
    size: int
    state_bytes: int


MasterT = TypeVar("MasterT", bound=Master)


class Masters(Generic[MasterT]):
    """At most ``size`` masters, and at most ``states_limit`` bytes of states. Thread-safe."""

    def __init__(self, size: int = SIZE, states_limit: int = STATES_LIMIT) -> None:
        if size < 1 or states_limit < 1:
            raise ValueError(f"size and states_limit are at least 1, got {size}, {states_limit}")
        self._size, self._limit = size, states_limit
        self._kept: OrderedDict[Key, MasterT] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._evictions = self._invalidated = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> MasterT | None:
        """Return the master of ``key``, which is now the most recently used."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Key, master: MasterT) -> None:
        """Keep a master, and let the least recently used go where there is no room."""
        with self._lock:
            known = self._kept.pop(key, None)
            if known is not None:
                self._bytes -= known.state_bytes
                self._invalidated += known.made_of != master.made_of
            self._kept[key] = master
            self._bytes += master.state_bytes
            # The newest stays, however large it is.
            while len(self._kept) > 1 and self._is_full():
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.state_bytes
                self._evictions += 1

    def forget(self, user_id: str | None) -> None:
        """Let go of every master of a user; of all masters, for None."""
        with self._lock:
            for key in [key for key in self._kept if user_id in (None, key[1])]:
                self._bytes -= self._kept.pop(key).state_bytes
                self._invalidated += 1

    def count(self, *, hit: bool) -> None:
        """Count a call: whether it was served without loading anything."""
        with self._lock:
            self._hits += hit
            self._misses += not hit

    def stats(self) -> Stats:
        """Return the counters of this moment."""
        with self._lock:
            return Stats(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                invalidated=self._invalidated,
                size=len(self._kept),
                state_bytes=self._bytes,
            )

    def _is_full(self) -> bool:
        return len(self._kept) > self._size or self._bytes > self._limit
