"""Having workers embed the inputs of requests, so that demos can be picked for them.

The application needs no embedder. A request waits for workers at most its timeout, and after
they did not answer no request waits for a while: those have the version's fixed demos.
"""

import asyncio
import base64
import logging
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from bespoke_client.aio import AsyncClient
from bespoke_client.client import Client
from bespoke_client.errors import BespokeClientError
from bespoke_schemas.examples import Embed, Embedded
from bespoke_schemas.program_state import Embeds, Kind

PAUSE = 5.0  # seconds without a try after workers did not answer
TOLD_AGAIN = 60.0  # seconds after which the same trouble is logged once more

_log = logging.getLogger("bespoke.programs")


class _Asking:
    """What asking for vectors has in common, awaited or not."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._resting_until = 0.0
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def payload(self, user_id: str | None, text: str) -> Embed | None:
        """Return what to ask; None for a text that is none to embed, and while resting."""
        if time.monotonic() < self._resting_until:
            return None
        try:
            return Embed(user_id=user_id, text=text)
        except ValidationError:  # blank, or no text that JSON can carry
            return None

    def vector(self, kind: Kind, answer: Embedded) -> Sequence[float] | None:
        """Return the vector in an answer; None if it is of another embedder."""
        if (answer.embedder, answer.dim) != kind:
            self._tell("a version's examples were embedded by another embedder; optimize anew")
            return None
        try:
            return struct.unpack(f"<{answer.dim}e", base64.b64decode(answer.vector))
        except (ValueError, struct.error):
            self._tell("a vector cannot be read; install the same version on both sides")
            return None

    def failed(self, error: Exception) -> None:
        """Rest after workers did not answer."""
        self._resting_until = time.monotonic() + PAUSE
        self._tell(f"workers did not embed a request ({type(error).__name__})")

    def _tell(self, problem: str) -> None:
        with self._lock:
            now = time.monotonic()
            told_at = self._told.get(problem)
            if told_at is not None and now - told_at < TOLD_AGAIN:
                return
            self._told[problem] = now
        _log.warning("requests have fixed demos: %s", problem)


class RequestEmbeds:
    """Asks workers for the vectors of requests. One for a process; thread-safe."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._asking = _Asking(timeout)

    def of(self, user_id: str | None) -> Embeds:
        """Return what embeds the requests of one user's program."""
        return _OfUser(self, user_id)

    def embed(self, user_id: str | None, kind: Kind, text: str) -> Sequence[float] | None:
        """Return the vector of a text; None where there is none in time."""
        payload = self._asking.payload(user_id, text)
        if payload is None:
            return None
        try:
            answer = self._client.enqueue(payload).result(self._asking.timeout)
        except BespokeClientError as error:
            self._asking.failed(error)
            return None
        return self._asking.vector(kind, answer)

    async def aembed(self, user_id: str | None, kind: Kind, text: str) -> Sequence[float] | None:
        """Do the same without keeping an event loop waiting."""
        return await asyncio.to_thread(self.embed, user_id, kind, text)


class AsyncRequestEmbeds:
    """The same on the application's event loop, for ``AsyncPrograms``."""

    def __init__(self, client: AsyncClient, timeout: float) -> None:
        self._client = client
        self._asking = _Asking(timeout)
        self._loop: asyncio.AbstractEventLoop | None = None

    def of(self, user_id: str | None) -> Embeds:
        """Return what embeds the requests of one user's program."""
        return _OfUser(self, user_id)

    def serves_here(self) -> None:
        """Remember the event loop that runs: calls from other threads are embedded on it."""
        self._loop = asyncio.get_running_loop()

    def embed(self, user_id: str | None, kind: Kind, text: str) -> Sequence[float] | None:
        """Return the vector of a text; None in the loop's own thread, which must not wait."""
        loop = self._loop
        if loop is None or not loop.is_running() or _on_a_loop():
            return None
        asking = asyncio.run_coroutine_threadsafe(self.aembed(user_id, kind, text), loop)
        try:
            return asking.result(2 * self._asking.timeout)
        except TimeoutError as error:
            asking.cancel()
            self._asking.failed(error)
            return None

    async def aembed(self, user_id: str | None, kind: Kind, text: str) -> Sequence[float] | None:
        """Return the vector of a text; None where there is none in time."""
        payload = self._asking.payload(user_id, text)
        if payload is None:
            return None
        try:
            job = await self._client.enqueue(payload)
            answer = await job.result(self._asking.timeout)
        except BespokeClientError as error:
            self._asking.failed(error)
            return None
        return self._asking.vector(kind, answer)


@dataclass(frozen=True)
class _OfUser:
    """What a user's program asks."""

    embeds: RequestEmbeds | AsyncRequestEmbeds
    user_id: str | None

    def embed(self, kind: Kind, text: str) -> Sequence[float] | None:
        return self.embeds.embed(self.user_id, kind, text)

    async def aembed(self, kind: Kind, text: str) -> Sequence[float] | None:
        return await self.embeds.aembed(self.user_id, kind, text)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
