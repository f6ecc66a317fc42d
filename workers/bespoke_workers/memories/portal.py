"""Async work for callers that cannot await it: an event loop in a thread of its own."""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

from bespoke_workers import settings
from bespoke_workers.database.engine import Database
from bespoke_workers.memories.store import Memories

T = TypeVar("T")

CLOSING = 5.0  # seconds that the end of the process waits for connections to be closed


def wait(
    work: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop, timeout: float
) -> T:
    """Do ``work`` on a loop that runs in another thread, and wait for it.

    Raises TimeoutError after ``timeout`` seconds; the work is then cancelled.
    """
    future = asyncio.run_coroutine_threadsafe(work(), loop)
    try:
        return future.result(timeout)
    finally:
        future.cancel()


class Portal:
    """A loop that runs until the process ends, and the store whose connections belong to it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="bespoke-portal", daemon=True)
        self._thread.start()
        self._database: Database | None = None
        self._memories: Memories | None = None
        self._making = threading.Lock()
        atexit.register(self.close)

    @property
    def memories(self) -> Memories:
        """The memories that the settings describe, with connections of this portal's own.

        Raises Misconfigured.
        """
        with self._making:
            if self._memories is None:
                chosen = settings.load()
                self._database = Database(chosen.database(), pool_size=chosen.database_pool)
                self._memories = Memories.from_settings(self._database, chosen)
            return self._memories

    def close(self) -> None:
        """Close the connections and the loop."""
        atexit.unregister(self.close)
        if self._database is not None:
            wait(self._database.close, self.loop, CLOSING)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSING)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()


def portal() -> Portal:
    """Return this process's portal; one inherited through a fork has no thread any more."""
    return _portal(os.getpid())


@cache
def _portal(pid: int) -> Portal:
    return Portal()
