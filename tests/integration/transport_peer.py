"""A consumer and producer in the test's own process, over ours or the stock transport."""

from time import monotonic
from typing import Any

from kombu import Connection, Consumer, Queue
from kombu.message import Message

from tests.nodes.waiting import SECONDS

TRANSPORT = "bespoke_workers.transport:Transport"


class Peer:
    """A connection that consumes queues and keeps the messages it got."""

    def __init__(
        self,
        url: str,
        *queues: str,
        transport: str | None = TRANSPORT,
        prefetch: int = 0,
        no_ack: bool = False,
        **options: Any,
    ) -> None:
        self.connection = Connection(url, transport=transport, transport_options=options)
        self.got: list[Message] = []
        self.channel: Any = self.connection.default_channel
        self.consumer = Consumer(
            self.channel,
            [Queue(name) for name in queues],
            on_message=self.got.append,
            no_ack=no_ack,
        )
        if prefetch:
            self.consumer.qos(prefetch_count=prefetch)
        if queues:
            self.consumer.consume()

    def send(self, queue: str, *bodies: Any, **properties: Any) -> None:
        with self.connection.Producer() as producer:
            for body in bodies:
                producer.publish(body, routing_key=queue, serializer="json", **properties)

    def look(self, seconds: float = 0.2) -> None:
        """Drain until nothing has come for `seconds`."""
        try:
            while True:
                self.connection.drain_events(timeout=seconds)
        except TimeoutError:
            pass

    def receive(self, count: int) -> list[Any]:
        """Drain until `count` messages were got in all; their bodies."""
        deadline = monotonic() + SECONDS
        while len(self.got) < count:
            assert monotonic() < deadline, f"got {len(self.got)} of {count}"
            try:
                self.connection.drain_events(timeout=1)
            except TimeoutError:
                continue
        return self.bodies()

    def bodies(self) -> list[Any]:
        return [message.payload for message in self.got]
