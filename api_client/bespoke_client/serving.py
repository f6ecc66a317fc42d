"""``Programs(client).for_user("support", "ada")``: a user's program, without the database.

The state comes through the queue, is kept for a time to live, and is asked for once at a time
for each user, in a thread of its own: no request waits longer than its timeout.
"""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any

from bespoke_client.client import Client
from bespoke_client.errors import BespokeClientError, BrokerUnavailable, NotServed
from bespoke_client.per_process import PerProcess
from bespoke_client.requests import RequestEmbeds
from bespoke_client.shelf import SIZE, TIMEOUT, TTL, ModelLM, ServingStats, Shelf, Shelved, advance
from bespoke_schemas.program_state import Key
from bespoke_schemas.programs import LoadActive

LONGEST = 60.0  # seconds for which one loading waits for its jobs; requests have gone on by then
PAUSE = 5.0  # seconds without a try after Redis was away
THREADS = 16  # loadings at once

_log = logging.getLogger("bespoke.programs")


class Programs:
    """Serves users' programs. Share one between threads; fork as you like.

    ``register`` has the application's own classes by the programs' names: what the workers
    register under that name. What was loaded is served for ``ttl`` seconds; at most ``size``
    programs are kept. ``timeout`` is how many seconds a request may wait for workers. Where users
    have models of their own at a provider, ``model_lm`` makes a ``dspy.LM`` of what is told of one.
    """

    def __init__(
        self,
        client: Client,
        register: Mapping[str, Callable[[], Any]],
        *,
        ttl: float = TTL,
        size: int = SIZE,
        timeout: float = TIMEOUT,
        model_lm: ModelLM | None = None,
    ) -> None:
        def make() -> _Serving:
            embeds = RequestEmbeds(client, timeout)
            return _Serving(client, Shelf(register, ttl, size, embeds.of, model_lm), timeout)

        self._serving = PerProcess(make)

    def for_user(self, program: str, user_id: str | None = None, *, strict: bool = False) -> Any:
        """Return the program with the state that the user has in use, to call and to change.

        A user who has none gets the shared base's, and where there is none either, the plain
        program; None stands for the shared base. Where workers do not answer in time, what is
        kept is served beyond its time, else the base's or the plain program; where the state
        does not fit the class, the base's or the plain one. Each is logged as a warning, and
        with ``strict`` raises NotServed. Raises it too for a program that is not registered.
        """
        return self._serving.here().serve((program, user_id), strict)

    def forget(self, user_id: str | None = None) -> None:
        """Load a user's programs anew at the next call; without a user, everybody's.

        For when this application moved the user's pointer, or erased the user; and the shared
        base's, which is part of everybody's programs.
        """
        self._serving.here().forget(user_id)

    def stats(self) -> ServingStats:
        """Return what became of this process's calls."""
        return self._serving.here().shelf.stats()


class Flight:
    """One loading under way, which any number of requests wait for."""

    def __init__(self, shelved: Shelved | None = None) -> None:
        self.began = time.monotonic()
        self.shelved = shelved
        self.error: Exception | None = None
        self.failed_at = self.began
        self.told = False

    def left(self, timeout: float) -> float:
        """Return how long a request may wait for it: one that joins late does not wait again."""
        return max(0.0, self.began + timeout - time.monotonic())

    def fail(self, error: Exception) -> None:
        """End it without a result."""
        self.error = error
        self.failed_at = time.monotonic()

    def grounds(self) -> bool:
        """Whether it failed so short a while ago that another one is not worth a try."""
        return time.monotonic() - self.failed_at < PAUSE

    def result(self, program: str, *, strict: bool) -> Shelved | None:
        """Return what was loaded, None if nothing was, in time.

        Raises what the program's class raised; with ``strict``, NotServed for all else.
        """
        if self.error is not None and not isinstance(self.error, BespokeClientError):
            raise self.error
        problem = self.shelved.problem if self.shelved else self._reason()
        if strict and problem is not None:
            raise NotServed(f"program {program!r}: {problem}") from self.error
        if self.shelved is None and not self.told:
            self.told = True
            _log.warning("a user's program may be out of date: %s: %s", program, problem)
        return self.shelved

    def _reason(self) -> str:
        if self.error is None:
            return "workers did not answer in time"
        return f"its state could not be loaded ({type(self.error).__name__})"


class _Serving:
    """The programs that one process keeps, and the loadings under way."""

    def __init__(self, client: Client, shelf: Shelf, timeout: float) -> None:
        self.shelf = shelf
        self._client = client
        self._timeout = timeout
        self._flights: dict[Key, tuple[Flight, threading.Event]] = {}
        self._lock = threading.Lock()
        self._crew = _Crew()
        self._grounded: Flight | None = None

    def serve(self, key: Key, strict: bool) -> Any:
        self.shelf.check(key[0])
        shelved = self.shelf.fresh(key)
        self.shelf.count(hit=shelved is not None)
        flight, ended = (Flight(shelved), None) if shelved else self._join(key)
        if ended is not None:
            ended.wait(flight.left(self._timeout))
        shelved = flight.result(key[0], strict=strict)
        return shelved.lend() if shelved else self.shelf.beyond(key)

    def forget(self, user_id: str | None) -> None:
        with self._lock:
            for key in [key for key in self._flights if user_id in (None, key[1])]:
                # What it brings may be what was in use before; nobody keeps it.
                del self._flights[key]
            self.shelf.forget(user_id)

    def _join(self, key: Key) -> tuple[Flight, threading.Event | None]:
        """Return the loading of ``key`` that is under way, or begin one."""
        with self._lock:
            shelved = self.shelf.fresh(key)  # by another thread, meanwhile
            if shelved is not None:
                return Flight(shelved), None
            if key not in self._flights:
                if self._grounded is not None and self._grounded.grounds():
                    return self._grounded, None
                under_way = Flight(), threading.Event()
                self._flights[key] = under_way
                self._crew.do(partial(copy_context().run, self._fly, key, *under_way))
            return self._flights[key]

    def _fly(self, key: Key, flight: Flight, ended: threading.Event) -> None:
        try:
            shelved = self._load(key)
            with self._lock:
                if self._flights.get(key) == (flight, ended):
                    self.shelf.put(key, shelved)
            flight.shelved = shelved
        except Exception as error:  # noqa: BLE001  # whoever waits for it raises it
            flight.fail(error)
            if isinstance(error, BrokerUnavailable):
                self._grounded = flight
        finally:
            with self._lock:
                if self._flights.get(key) == (flight, ended):
                    del self._flights[key]
            ended.set()

    def _load(self, key: Key) -> Shelved:
        loading = self.shelf.loading(key)
        step = advance(loading, None)
        while isinstance(step, LoadActive):
            step = advance(loading, self._client.enqueue(step).result(LONGEST))
        return step


class _Crew:
    """Threads that do what is given to them; they end with the process, whatever they wait for."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads = itertools.count(1)

    def do(self, work: Callable[[], None]) -> None:
        """Have something done as soon as a thread is free. Not to be called by two at once."""
        if next(self._threads) <= THREADS:
            threading.Thread(target=self._run, name="bespoke-programs", daemon=True).start()
        self._work.put(work)

    def _run(self) -> None:
        while True:
            self._work.get()()
