"""The client: one verb, enqueue."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from bespoke_client.broker import Broker, RedisBroker
from bespoke_client.job import Job
from bespoke_client.message import message
from bespoke_client.results import RedisResults, Results
from bespoke_client.settings import read_settings
from bespoke_schemas import Payload, Result, jobs
from bespoke_schemas.payload import ResultT

TIMEOUT = 5.0  # seconds; long enough for a restart of Redis on the same machine


class Client:
    """Enqueues payloads and finds their jobs. Share one between threads; fork as you like.

    Without ``broker_url`` the address is BESPOKE_BROKER_URL's, else the local stack's;
    results are where the broker is unless ``result_url`` or BESPOKE_RESULT_URL says otherwise.
    ``timeout`` is how many seconds Redis may stay away before enqueueing is given up.
    Raises NotConfigured.
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
            RedisResults(settings.results, timeout),
            settings.broker.shown,
        )

    def _connect(self, broker: Broker, results: Results, shown: str) -> None:
        self._broker = broker
        self._results = results
        self._shown = shown

    def enqueue(self, payload: Payload[ResultT], *, ignore_result: bool = False) -> Job[ResultT]:
        """Return the job once its message is in the broker. The same payload twice is one job.

        Raises TypeError, pydantic's ValidationError or PayloadTooLarge for what cannot be
        enqueued, BrokerUnavailable or BrokerRefused if it did not get there.
        """
        self._broker.send([message(payload)], ignore_result=ignore_result)
        return self._job(payload.id, payload.task, ignore_result)

    def enqueue_many(
        self, payloads: Iterable[Payload[ResultT]], *, ignore_result: bool = False
    ) -> list[Job[ResultT]]:
        """Enqueue payloads in pipelines and return their jobs, in order.

        All of them are checked before the first is sent. Raises what ``enqueue`` raises; after
        BrokerUnavailable some may have arrived, and enqueueing the same ones again is safe.
        """
        every = list(payloads)
        self._broker.send([message(payload) for payload in every], ignore_result=ignore_result)
        return [self._job(payload.id, payload.task, ignore_result) for payload in every]

    def job(self, job_id: UUID | str) -> Job[Result]:
        """Find a job by its id, from any process. Asks nobody: an unknown job looks queued.

        Raises ValueError if ``job_id`` is not a UUID.
        """
        return self._job(as_id(job_id), None, False)

    def close(self) -> None:
        """Close the connections. The client can be used again, and opens new ones."""
        self._broker.close()
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown}>"

    def _job(self, job_id: UUID, task: str | None, ignored: bool) -> Job[Any]:
        return Job(job_id, task, self._results, self._cancel, ignored=ignored)

    def _cancel(self, job_id: UUID) -> Job[jobs.Cancelled]:
        # The payload decides, in the database; revoking only spares workers a start.
        cancellation = self.enqueue(jobs.Cancel(job_id=job_id))
        self._broker.revoke(job_id)
        return cancellation


def as_id(job_id: UUID | str) -> UUID:
    """Return a job's id as a UUID. Raises ValueError."""
    if isinstance(job_id, UUID):
        return job_id
    try:
        return UUID(job_id)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"expected a job's id (a UUID), got {job_id!r}") from None


def check_timeout(seconds: float) -> None:
    """Raise ValueError unless ``seconds`` is a time that a socket can be given."""
    if not 0 < seconds < float("inf"):
        raise ValueError(f"timeout must be more than 0 seconds and finite, got {seconds!r}")
