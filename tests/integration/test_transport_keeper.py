"""While a task occupies the worker's loop, a thread keeps what the channel holds."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.integration.transport_peer import Peer
from tests.nodes.waiting import wait_until

OPTIONS: dict[str, Any] = {
    "tasks_in_loop": True,
    "visibility_timeout": 1,
    "unacked_restore_interval": 0.2,
    "member_timeout": 0.4,
    "peek_seconds": 0.2,
}


@pytest.fixture
def store(broker_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(broker_url) as client:
        yield client


@pytest.fixture
def solo(broker_url: str) -> Iterator[Callable[..., Peer]]:
    """Make a channel whose consumer calls `task(message)` in its loop."""
    peers: list[Peer] = []

    def make(task: Callable[[Any], object], *, prefetch: int = 0, **options: Any) -> Peer:
        peer = Peer(broker_url, "q", prefetch=prefetch, **OPTIONS | options)
        receive = peer.got.append

        def work(message: Any) -> None:
            receive(message)
            task(message)

        peer.consumer.on_message = work
        peers.append(peer)
        return peer

    yield make
    for each in peers:
        each.connection.close()


def test_what_is_in_hand_is_renewed(solo: Any, store: Any) -> None:
    def long(message: Any) -> None:
        started = store.zscore("unacked_index", message.delivery_tag)
        wait_until(
            lambda: store.zscore("unacked_index", message.delivery_tag) > started + 3,
            "renewed for three times the visibility timeout",
        )

    worker = solo(long)
    worker.send("q", "long")

    assert worker.receive(1) == ["long"]


def test_an_early_acknowledgement_is_told(solo: Any, store: Any) -> None:
    def long(message: Any) -> None:
        message.ack()
        wait_until(lambda: store.hlen("unacked") == 0, "Redis knows")

    worker = solo(long)
    worker.send("q", "long")

    assert worker.receive(1) == ["long"]


def test_an_acknowledgement_that_the_thread_takes_first_is_not_the_loop_s(solo: Any) -> None:
    taken_first: list[str] = []

    class Shared(deque[str]):
        def popleft(self) -> str:
            if not taken_first:
                taken_first.append(super().popleft())
            return super().popleft()

    qos = solo(lambda message: None).channel.qos
    qos._acknowledged = Shared(["receipt"])

    assert (qos.take_acknowledged(), taken_first) == ([], ["receipt"])


def test_what_has_not_begun_is_handed_back_in_order_and_unmarked(solo: Any, store: Any) -> None:
    def long(message: Any) -> None:
        if message.payload == 0:
            wait_until(lambda: store.llen("q") == 4, "all but the first are in the queue")

    worker = solo(long, prefetch=8)
    worker.send("q", *range(5))

    worker.channel.turn()  # as an event loop calls it: all are claimed and delivered in one go

    assert worker.receive(5) == list(range(5))
    assert not any(message.delivery_info.get("redelivered") for message in worker.got)
    assert store.hlen("unacked") == store.zcard("unacked_index") == 5


def test_a_task_that_is_stuck_is_given_up_for_another(solo: Any, broker_url: str) -> None:
    heir = Peer(broker_url, "q", **OPTIONS | {"tasks_in_loop": False})

    def stuck(_: Any) -> None:
        heir.receive(1)

    worker = solo(stuck, longest_task=0.1)
    worker.send("q", "stuck")
    worker.receive(1)

    assert heir.got[0].delivery_info["redelivered"]
    heir.connection.close()


def test_the_thread_goes_on_after_redis_has_hung_up(solo: Any, store: Any) -> None:
    def long(message: Any) -> None:
        store.client_kill_filter(_type="normal", skipme=True)
        message.ack()
        wait_until(lambda: store.hlen("unacked") == 0, "Redis knows")

    worker = solo(long)
    worker.send("q", "long")

    assert worker.receive(1) == ["long"]


def test_the_thread_ends_with_its_channel(solo: Any) -> None:
    worker = solo(lambda message: None)
    thread = worker.channel._keeper._thread
    assert thread.is_alive()

    worker.connection.close()

    assert not thread.is_alive()
