"""Reads jobs' entries from Redis, where Celery's result backend keeps them.

Celery stores an entry under ``celery-task-meta-<job id>`` and publishes it on a channel of
the same name. Whoever waits subscribes, looks once the subscription is confirmed, and looks
again at each notification and after each silent second.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.retry import Retry

from bespoke_client.outage import REDIS_ERRORS, Patience
from bespoke_client.settings import Address
from bespoke_client.state import POLL, State, decode

OUTAGE = 60.0  # seconds for which a wait without a timeout puts up with no Redis
CONNECTIONS = 10_000  # each wait holds one; the limit is the server's


class Results(Protocol):
    """Where a job's state is read."""

    def state(self, job_id: UUID) -> State:
        """Return how the job is now."""

    def follow(
        self, job_id: UUID, timeout: float | None = None, interval: float = POLL
    ) -> Iterator[State]:
        """Yield the job's state whenever it may have changed, until it ended or time is up.

        Looks at least once. Raises BrokerUnavailable if Redis stays away all that time.
        """

    def close(self) -> None:
        """Let go of the connections."""


class AsyncResults(Protocol):
    """The same for asyncio."""

    async def state(self, job_id: UUID) -> State:
        """Return how the job is now."""

    def follow(
        self, job_id: UUID, timeout: float | None = None, interval: float = POLL
    ) -> AsyncIterator[State]:
        """Yield the job's state whenever it may have changed, until it ended or time is up."""

    async def close(self) -> None:
        """Let go of the connections."""


class RedisResults:
    """Reads from Redis. Safe to share between threads, and to use after a fork."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._redis = redis.Redis.from_url(
            address.url, retry=Retry(NoBackoff(), 0), **_options(timeout)
        )

    def state(self, job_id: UUID) -> State:
        """Return how the job is now. Raises BrokerUnavailable, BadResult."""
        patience = Patience(self._address, self._timeout)
        while True:
            try:
                return decode(job_id, self._redis.get(key(job_id)))
            except REDIS_ERRORS as error:
                time.sleep(patience.after(error))

    def follow(
        self, job_id: UUID, timeout: float | None = None, interval: float = POLL
    ) -> Iterator[State]:
        """Yield the job's state whenever it may have changed, until it ended or time is up."""
        wait = _Wait(timeout, interval)
        patience = Patience(self._address, wait.outage, until=wait.deadline)
        while True:
            try:
                with self._listener() as channel:
                    channel.subscribe(key(job_id))
                    while True:
                        channel.get_message(timeout=wait.nap())
                        state = decode(job_id, self._redis.get(key(job_id)))
                        patience.renew()
                        yield state
                        if state.final or wait.over():
                            return
            except REDIS_ERRORS as error:
                time.sleep(patience.after(error))

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _listener(self) -> PubSub:
        return self._redis.pubsub()  # type: ignore[no-any-return,no-untyped-call]  # bare in redis


class AsyncRedisResults:
    """Reads from Redis with asyncio; each event loop has connections of its own."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
            WeakKeyDictionary()
        )

    async def state(self, job_id: UUID) -> State:
        """Return how the job is now. Raises BrokerUnavailable, BadResult."""
        patience = Patience(self._address, self._timeout)
        while True:
            try:
                return decode(job_id, await self._redis().get(key(job_id)))
            except REDIS_ERRORS as error:
                await asyncio.sleep(patience.after(error))

    async def follow(
        self,
        job_id: UUID,
        timeout: float | None = None,  # noqa: ASYNC109  # its end is no error here
        interval: float = POLL,
    ) -> AsyncIterator[State]:
        """Yield the job's state whenever it may have changed, until it ended or time is up."""
        wait = _Wait(timeout, interval)
        patience = Patience(self._address, wait.outage, until=wait.deadline)
        while True:
            try:
                async with self._redis().pubsub() as channel:
                    await channel.subscribe(key(job_id))
                    while True:
                        await channel.get_message(timeout=wait.nap())
                        state = decode(job_id, await self._redis().get(key(job_id)))
                        patience.renew()
                        yield state
                        if state.final or wait.over():
                            return
            except REDIS_ERRORS as error:
                await asyncio.sleep(patience.after(error))

    async def close(self) -> None:
        """Let go of the running loop's connections."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _redis(self) -> redis.asyncio.Redis:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = redis.asyncio.Redis.from_url(
                self._address.url, retry=AsyncRetry(NoBackoff(), 0), **_options(self._timeout)
            )
        return client


def key(job_id: UUID) -> str:
    """Return the key of a job's entry, which is its channel's name too."""
    return f"celery-task-meta-{job_id}"


def _options(timeout: float) -> dict[str, Any]:
    # How often to try again is Patience's to say, so redis-py does not.
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "max_connections": CONNECTIONS,
    }


class _Wait:
    """The clock of one wait. Durations are in seconds; ``timeout`` None waits for ever."""

    def __init__(self, timeout: float | None, interval: float) -> None:
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._interval = interval
        self.outage = OUTAGE if timeout is None else timeout

    def nap(self) -> float:
        """Return how long to listen before the next look."""
        if self.deadline is None:
            return self._interval
        return max(0.0, min(self._interval, self.deadline - time.monotonic()))

    def over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline
