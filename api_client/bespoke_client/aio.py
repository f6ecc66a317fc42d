"""The client for asyncio."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from bespoke_client.broker import Broker, RedisBroker
from bespoke_client.client import TIMEOUT, as_id, check_timeout
from bespoke_client.job import AsyncJob
from bespoke_client.message import message
from bespoke_client.results import AsyncRedisResults, AsyncResults
from bespoke_client.settings import read_settings
from bespoke_schemas import Payload, Result, jobs
from bespoke_schemas.payload import ResultT


class AsyncClient:
    """Client for asyncio: the same surface, awaited. Publishing runs in a thread.

    May be used from several event loops; close it in each.
    """

    def __init__(
        self,
        broker_url: str | None = None,
        result_url: str | None = None,
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        settings = read_settings(broker_url, result_url)
        check_timeout(timeout)
        self._connect(
            RedisBroker(settings.broker, timeout),
            AsyncRedisResults(settings.results, timeout),
            settings.broker.shown,
        )

    def _connect(self, broker: Broker, results: AsyncResults, shown: str) -> None:
        self._broker = broker
        self._results = results
        self._shown = shown

    async def enqueue(
        self, payload: Payload[ResultT], *, ignore_result: bool = False
    ) -> AsyncJob[ResultT]:
        """Return the job once its message is in the broker; see Client.enqueue."""
        outgoing = [message(payload)]
        await asyncio.to_thread(self._broker.send, outgoing, ignore_result=ignore_result)
        return self._job(payload.id, payload.task, ignore_result)

    async def enqueue_many(
        self, payloads: Iterable[Payload[ResultT]], *, ignore_result: bool = False
    ) -> list[AsyncJob[ResultT]]:
        """Enqueue payloads in pipelines and return their jobs; see Client.enqueue_many."""
        every = list(payloads)
        outgoing = [message(payload) for payload in every]
        await asyncio.to_thread(self._broker.send, outgoing, ignore_result=ignore_result)
        return [self._job(payload.id, payload.task, ignore_result) for payload in every]

    def job(self, job_id: UUID | str) -> AsyncJob[Result]:
        """Find a job by its id, from any process. Nothing to await; see Client.job."""
        return self._job(as_id(job_id), None, False)

    async def close(self) -> None:
        """Close the connections. The client can be used again, and opens new ones."""
        await asyncio.to_thread(self._broker.close)
        await self._results.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown}>"

    def _job(self, job_id: UUID, task: str | None, ignored: bool) -> AsyncJob[Any]:
        return AsyncJob(job_id, task, self._results, self._cancel, ignored=ignored)

    async def _cancel(self, job_id: UUID) -> AsyncJob[jobs.Cancelled]:
        cancellation = await self.enqueue(jobs.Cancel(job_id=job_id))
        await asyncio.to_thread(self._broker.revoke, job_id)
        return cancellation
