"""Async work for callers that cannot await it: an event loop in a thread of its own."""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bespoke_workers import settings
from bespoke_workers.database.engine import Database
from bespoke_workers.settings import Settings

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
    """A loop that runs until the process ends, and the database whose connections belong to it.

    Made without a thread or a connection: both come at first use. Not to be used across a fork.
    """

    def __init__(self, read: Callable[[], Settings] = settings.load) -> None:
        self.making = threading.RLock()  # for whoever makes something that belongs to this portal
        self._read = read
        self._pid = os.getpid()
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        self._database: Database | None = None

    @property
    def settings(self) -> Settings:
        """The settings of this process; raises Misconfigured."""
        return self._read()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, which runs."""
        with self.making:
            if self._running is None:
                self._running = _started()
                atexit.register(self.close)
            return self._running[0]

    @property
    def database(self) -> Database:
        """The engine of this portal; raises Misconfigured."""
        with self.making:
            if self._database is None:
                chosen = self._read()
                self._database = Database(chosen.database(), pool_size=chosen.database_pool)
            return self._database

    def close(self) -> None:
        """Close the connections and the loop, if this process opened them."""
        if os.getpid() != self._pid or self._running is None:
            return
        atexit.unregister(self.close)
        loop, thread = self._running
        if self._database is not None:
            wait(self._database.close, loop, CLOSING)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSING)


def _started() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop,), name="bespoke-portal", daemon=True)
    thread.start()
    return loop, thread


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()


_portals: dict[int, Portal] = {}


def portal() -> Portal:
    """Return this process's portal; one inherited through a fork is left alone."""
    pid = os.getpid()
    # setdefault is atomic, and a lock could be held by a thread that the fork left out.
    return _portals.get(pid) or _portals.setdefault(pid, Portal())
