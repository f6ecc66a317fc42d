"""``Programs`` for asyncio: the same surface, awaited."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from bespoke_client.aio import AsyncClient
from bespoke_client.errors import BrokerUnavailable
from bespoke_client.per_process import PerProcess
from bespoke_client.requests import AsyncRequestEmbeds
from bespoke_client.serving import LONGEST, Flight
from bespoke_client.shelf import SIZE, TIMEOUT, TTL, ModelLM, ServingStats, Shelf, Shelved, advance
from bespoke_schemas.program_state import Key
from bespoke_schemas.programs import LoadActive

Flights = dict[Key, "tuple[Flight, asyncio.Task[None]]"]


class AsyncPrograms:
    """Programs for asyncio; see Programs. May be used from several event loops."""

    def __init__(
        self,
        client: AsyncClient,
        register: Mapping[str, Callable[[], Any]],
        *,
        ttl: float = TTL,
        size: int = SIZE,
        timeout: float = TIMEOUT,
        model_lm: ModelLM | None = None,
    ) -> None:
        def make() -> _Serving:
            embeds = AsyncRequestEmbeds(client, timeout)
            shelf = Shelf(register, ttl, size, embeds.of, model_lm)
            return _Serving(client, shelf, timeout, embeds)

        self._serving = PerProcess(make)

    async def for_user(
        self, program: str, user_id: str | None = None, *, strict: bool = False
    ) -> Any:
        """Return the program with the state that the user has in use; see Programs.for_user."""
        return await self._serving.here().serve((program, user_id), strict)

    def forget(self, user_id: str | None = None) -> None:
        """Load a user's programs anew at the next call. Nothing to await; see Programs.forget."""
        self._serving.here().forget(user_id)

    def stats(self) -> ServingStats:
        """Return what became of this process's calls. Nothing to await."""
        return self._serving.here().shelf.stats()


class _Serving:
    """The programs that one process keeps, and the loadings under way in each event loop."""

    def __init__(
        self, client: AsyncClient, shelf: Shelf, timeout: float, embeds: AsyncRequestEmbeds
    ) -> None:
        self.shelf = shelf
        self._embeds = embeds
        self._client = client
        self._timeout = timeout
        self._flights: WeakKeyDictionary[asyncio.AbstractEventLoop, Flights] = WeakKeyDictionary()
        self._grounded: Flight | None = None

    async def serve(self, key: Key, strict: bool) -> Any:
        self.shelf.check(key[0])
        self._embeds.serves_here()
        shelved = self.shelf.fresh(key)
        self.shelf.count(hit=shelved is not None)
        flight, task = (Flight(shelved), None) if shelved else self._join(key)
        if task is not None:
            await asyncio.wait([task], timeout=flight.left(self._timeout))
        shelved = flight.result(key[0], strict=strict)
        return shelved.lend() if shelved else self.shelf.beyond(key)

    def forget(self, user_id: str | None) -> None:
        for flights in list(self._flights.values()):
            for key in [key for key in flights if user_id in (None, key[1])]:
                # What it brings may be what was in use before; nobody keeps it.
                del flights[key]
        self.shelf.forget(user_id)

    def _join(self, key: Key) -> "tuple[Flight, asyncio.Task[None] | None]":
        """Return the loading of ``key`` that is under way, or begin one."""
        flights = self._flights.setdefault(asyncio.get_running_loop(), {})
        if key not in flights:
            if self._grounded is not None and self._grounded.grounds():
                return self._grounded, None
            flight = Flight()
            flights[key] = flight, asyncio.create_task(self._fly(key, flight, flights))
        return flights[key]

    async def _fly(self, key: Key, flight: Flight, flights: Flights) -> None:
        try:
            shelved = await self._load(key)
            if key in flights and flights[key][0] is flight:
                self.shelf.put(key, shelved)
            flight.shelved = shelved
        except Exception as error:  # noqa: BLE001  # whoever waits for it raises it
            flight.fail(error)
            if isinstance(error, BrokerUnavailable):
                self._grounded = flight
        finally:
            if key in flights and flights[key][0] is flight:
                del flights[key]

    async def _load(self, key: Key) -> Shelved:
        loading = self.shelf.loading(key)
        step = advance(loading, None)
        while isinstance(step, LoadActive):
            job = await self._client.enqueue(step)
            # Making a module keeps no loop waiting.
            step = await asyncio.to_thread(advance, loading, await job.result(LONGEST))
        return step
