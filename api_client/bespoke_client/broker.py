"""Puts messages into Redis: the client's only door to Celery."""

import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import kombu
from celery import Celery
from celery.loaders.app import AppLoader
from kombu.connection import ConnectionPool

from bespoke_client.errors import BrokerUnavailable
from bespoke_client.message import Message
from bespoke_client.outage import REDIS_ERRORS, Patience
from bespoke_client.per_process import PerProcess
from bespoke_client.settings import Address

CHUNK = 500  # messages in one pipeline: what has to be sent again if the connection breaks
CONNECTIONS = 32  # as many threads can publish at once; more wait for their turn

# Where workers listen for remote control.
CONTROL = kombu.Exchange("celery.pidbox", type="fanout", durable=False, delivery_mode="transient")


class Broker(Protocol):
    """Where messages go."""

    def send(self, messages: Sequence[Message], *, ignore_result: bool) -> None:
        """Return once every message is in the broker."""

    def revoke(self, job_id: UUID) -> None:
        """Ask the workers not to start a job that waits."""

    def close(self) -> None:
        """Let go of the connections."""


class NoConfiguration(AppLoader):
    """Keeps an application's own celeryconfig out of the client's Celery app."""

    def read_configuration(self, env: str = "") -> dict[str, Any]:
        """Return no settings, wherever the environment points."""
        return {}


class Publisher(Celery):
    """A Celery app that only sends; results.py reads the results.

    The backend is fixed by its class, which CELERY_RESULT_BACKEND does not reach. Celery's
    own would subscribe to each job that is sent, and never let go of those not waited for.
    """

    backend_cls = "disabled"


@dataclass(frozen=True)
class _Lines:
    """What one process has: a Celery app and the connections made with it."""

    app: Celery
    pool: Any


class RedisBroker:
    """Publishes to Redis. Safe to share between threads, and to use after a fork.

    ``timeout`` bounds, in seconds, each attempt and all attempts for one chunk of messages.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._lines = PerProcess(lambda: _connect(address, timeout))

    def send(self, messages: Sequence[Message], *, ignore_result: bool) -> None:
        """Return once every message is in Redis.

        Raises BrokerUnavailable, or BrokerRefused; then some messages may be in Redis.
        """
        for start in range(0, len(messages), CHUNK):
            chunk = messages[start : start + CHUNK]
            note = _uncertain(start, len(messages))
            self._persist(partial(_publish, chunk, ignore_result), note)

    def revoke(self, job_id: UUID) -> None:
        """Ask the workers not to start a job that waits.

        A courtesy: only workers that run now hear it, and nothing is raised if none can.
        """
        with suppress(BrokerUnavailable):
            self._persist(partial(_revoke, job_id), "")

    def close(self) -> None:
        """Close this process's connections; a later message opens new ones."""
        lines = self._lines.pop()
        if lines is not None:
            lines.pool.force_close_all()
            lines.app.close()

    def _persist(self, attempt: Callable[[Celery, Any], None], note: str) -> None:
        """Try until it worked or time is up. A second try may send a message twice."""
        patience = Patience(self._address, self._timeout, note=note)
        lines = self._lines.here()
        while True:
            try:
                with lines.pool.acquire(block=True) as line:
                    attempt(lines.app, line)
                return
            except REDIS_ERRORS as error:
                time.sleep(patience.after(error))


def _uncertain(sent: int, of: int) -> str:
    """Say what a broken connection leaves open: the answer to a push may be what was lost."""
    arrived = (
        f"{sent} of {of} messages are in Redis, delivery of the rest" if of > 1 else "delivery"
    )
    again = "enqueueing the same again is safe, each job is done once"
    return f"{arrived} is uncertain; {again}"


def _publish(chunk: Sequence[Message], ignore_result: bool, app: Celery, line: Any) -> None:
    producer: Any = app.amqp.Producer(line, auto_declare=False)
    if len(chunk) == 1:
        _send_one(app, producer, chunk[0], ignore_result)
        return
    with producer.batch(max_size=CHUNK):
        for message in chunk:
            _send_one(app, producer, message, ignore_result)


def _revoke(job_id: UUID, app: Celery, line: Any) -> None:
    # What control.revoke sends; that goes through Celery's global pool and retries for ever.
    producer: Any = app.amqp.Producer(line, auto_declare=False)
    producer.publish(
        {
            "method": "revoke",
            "arguments": {
                "task_id": str(job_id),
                "terminate": False,
                "signal": "TERM",
                "enqueued": True,  # the cancellation itself, so that workers need not
            },
            "destination": None,
            "pattern": None,
            "matcher": None,
        },
        exchange=CONTROL.name,
        declare=[CONTROL],
        headers={"clock": 0, "expires": 0},
        serializer="json",
    )


def _send_one(app: Celery, producer: Any, message: Message, ignore_result: bool) -> None:
    app.send_task(
        message.task,
        kwargs=message.kwargs,
        task_id=message.id,
        root_id=message.id,
        producer=producer,
        queue=message.queue,
        declare=[],  # Redis makes a list on its first push, workers bind what they consume
        argsrepr="()",
        kwargsrepr=message.shown,
        serializer="json",
        compression=None,
        retry=False,  # Patience tries again, bounded in time
        ignore_result=ignore_result,
        add_to_parent=False,
    )


def _connect(address: Address, timeout: float) -> _Lines:
    """Make an app and a pool that reach ``address`` whatever CELERY_… is set to."""
    app = Publisher("bespoke_client", loader=NoConfiguration, fixups=[], set_as_current=False)
    app.conf.update(task_create_missing_queues=True, task_serializer="json", task_protocol=2)
    _ = app.amqp.router, app.amqp.send_task_message  # made here, before threads share them
    connection = kombu.Connection(
        address.url,
        ssl=_tls(address.url),
        connect_timeout=timeout,
        transport_options={
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "socket_keepalive": True,
            "max_retries": 0,
        },
    )
    return _Lines(app, ConnectionPool(connection, limit=CONNECTIONS))


def _tls(url: str) -> dict[str, Any] | bool:
    """Check certificates unless the URL says otherwise; kombu's default would not."""
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parts.query:
        return False
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED}
