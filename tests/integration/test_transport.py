"""The transport claims atomically and stays on speaking terms with stock kombu."""

import json
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
import redis
from kombu import Connection

from tests.integration.transport_peer import TRANSPORT, Peer


@pytest.fixture
def store(broker_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(broker_url) as client:
        yield client


@pytest.fixture
def peer(broker_url: str) -> Iterator[Any]:
    """Make peers of this test's broker, closed at the end."""
    peers: list[Peer] = []

    def make(*queues: str, **options: Any) -> Peer:
        peers.append(Peer(broker_url, *queues, **options))
        return peers[-1]

    yield make
    for each in peers:
        each.connection.close()


def recorded(store: Any) -> dict[str, Any]:
    receipts = {receipt.decode() for receipt in store.zrange("unacked_index", 0, -1)}
    record = {key.decode(): json.loads(entry) for key, entry in store.hgetall("unacked").items()}
    assert set(record) == receipts
    return record


def test_a_claim_moves_the_message_as_it_is_into_the_record(peer: Any, store: Any) -> None:
    sender = peer()
    sender.send("q", {"n": 12345678901234567890, "list": [], "text": "ä\ud800"}, headers={"x": []})
    queued = store.lindex("q", 0)
    receiver = peer("q")

    receiver.receive(1)

    assert store.llen("q") == 0
    tag = receiver.got[0].delivery_tag
    assert store.hget("unacked", tag) == b"[" + queued + b', "", "q"]'
    assert recorded(store).keys() == {tag}


def test_an_acknowledgement_is_told_to_an_idle_redis(peer: Any, store: Any) -> None:
    receiver = peer("q")
    receiver.send("q", 1)
    receiver.receive(1)

    receiver.got[0].ack()
    receiver.look()

    assert recorded(store) == {}


def test_acknowledgements_ride_in_the_next_claim(peer: Any, store: Any) -> None:
    receiver = peer("q", prefetch=1)
    receiver.send("q", 1, 2)
    receiver.receive(1)[0]
    receiver.got[0].ack()

    receiver.receive(2)

    assert recorded(store).keys() == {receiver.got[1].delivery_tag}


def test_a_stock_producer_reaches_our_consumer(peer: Any) -> None:
    peer(transport=None).send("q", "hello")
    assert peer("q").receive(1) == ["hello"]


def test_our_producer_reaches_a_stock_consumer(peer: Any) -> None:
    peer().send("q", "hello")
    assert peer("q", transport=None).receive(1) == ["hello"]


def test_stock_kombu_can_restore_our_record(peer: Any, store: Any) -> None:
    receiver = peer("q")
    receiver.send("q", "hello")
    receiver.receive(1)

    peer(transport=None).channel.qos.restore_by_tag(receiver.got[0].delivery_tag)

    assert recorded(store) == {}
    assert store.llen("q") == 1


def test_a_stock_record_returns_to_its_queue(peer: Any, store: Any) -> None:
    stock = peer("q", transport=None)
    stock.send("q", "hello")
    stock.receive(1)
    store.zadd("unacked_index", {stock.got[0].delivery_tag: 1.0})

    receiver = peer("q")

    assert receiver.receive(1) == ["hello"]
    assert receiver.got[0].delivery_info["redelivered"]


def test_a_full_queue_does_not_starve_another(peer: Any) -> None:
    peer().send("full", *range(50))
    peer().send("short", "a", "b")

    got = peer("full", "short", prefetch=10).receive(6)

    assert {"a", "b"} <= set(got)


def test_prefetch_is_respected(peer: Any, store: Any) -> None:
    receiver = peer("q", prefetch=3)
    receiver.send("q", *range(10))

    receiver.look()
    assert receiver.bodies() == [0, 1, 2]
    assert store.llen("q") == 7

    receiver.got[0].ack()
    receiver.look()
    assert receiver.bodies() == [0, 1, 2, 3]


def test_a_queue_without_acknowledgements_is_not_recorded(peer: Any, store: Any) -> None:
    receiver = peer("q", no_ack=True)
    receiver.send("q", 1, 2)

    assert receiver.receive(2) == [1, 2]
    assert recorded(store) == {}


def test_basic_get_claims(peer: Any, store: Any) -> None:
    one = peer()
    one.send("q", "hello")

    message = one.channel.basic_get("q")

    assert message.payload == "hello"
    assert recorded(store).keys() == {message.delivery_tag}
    assert one.channel.basic_get("q") is None


def test_a_rejected_message_goes_last_in_line_marked(peer: Any, store: Any) -> None:
    receiver = peer("q", prefetch=1)
    receiver.send("q", "bad", "good")
    receiver.receive(1)

    receiver.got[0].reject(requeue=True)
    receiver.receive(2)
    receiver.got[1].ack()

    assert receiver.receive(3) == ["bad", "good", "bad"]
    assert receiver.got[2].headers["redelivered"]
    assert receiver.got[2].delivery_info["redelivered"]
    assert not receiver.got[1].delivery_info.get("redelivered")


def test_a_message_rejected_for_good_is_gone(peer: Any, store: Any) -> None:
    receiver = peer("q")
    receiver.send("q", "bad")
    receiver.receive(1)

    receiver.got[0].reject()
    receiver.look()

    assert recorded(store) == {}
    assert store.llen("q") == 0


def test_closing_returns_what_is_held_oldest_first(peer: Any, store: Any) -> None:
    receiver = peer("q", prefetch=4)
    receiver.send("q", *range(6), headers={"kept": [], "big": 2**70})
    receiver.receive(4)
    receiver.got[1].ack()

    receiver.connection.close()

    assert recorded(store) == {}
    next_one = peer("q")
    assert next_one.receive(5) == [0, 2, 3, 4, 5]
    assert next_one.got[0].headers == {"kept": [], "big": 2**70, "redelivered": True}


def test_what_a_silent_holder_had_comes_back_oldest_first(peer: Any, store: Any) -> None:
    silent = peer("q", prefetch=3)
    silent.send("q", *range(5))
    silent.receive(3)

    heir = peer("q", visibility_timeout=1, unacked_restore_interval=0.2, peek_seconds=0.5)
    got = heir.receive(5)

    assert sorted(got) == [0, 1, 2, 3, 4]
    returned = [m.payload for m in heir.got if m.delivery_info.get("redelivered")]
    assert returned == [0, 1, 2]


def test_what_a_live_holder_has_stays_with_it(peer: Any, store: Any) -> None:
    # As long as no stall of a busy machine is.
    times = {"visibility_timeout": 3, "unacked_restore_interval": 0.2, "peek_seconds": 0.1}
    holder = peer("q", **times)
    holder.send("q", "mine")
    holder.receive(1)
    other = peer("q", **times)

    end = monotonic() + 4.5
    while monotonic() < end:
        holder.look(0.05)
        other.look(0.05)

    assert other.got == []
    assert len(holder.got) == 1


def test_copies_of_a_message_are_recorded_each(peer: Any, store: Any) -> None:
    receiver = peer("a", "b")
    receiver.send("a", "twice")
    store.lpush("b", store.lindex("a", 0))

    receiver.receive(2)
    assert len(recorded(store)) == 2

    receiver.got[0].ack()
    receiver.look()
    assert recorded(store).keys() == {receiver.got[1].delivery_tag}


@pytest.mark.parametrize(
    "text",
    [
        b"no JSON",
        b'"a string"',
        b"null",
        b'{"body": 1}',
        b'{"properties": {"delivery_tag": 7}}',
        b'{"properties": {"delivery_tag": "t"}, "body": "\xff"}',
        b'{"properties": {"delivery_tag": "t", "body_encoding": "base64"}, "body": "a"}',
        b'{"properties": {"delivery_tag": "t", "body_encoding": "klingon"}, "body": "a"}',
    ],
)
def test_an_unreadable_message_is_moved_aside(peer: Any, store: Any, text: bytes) -> None:
    store.lpush("q", text)
    receiver = peer("q")
    receiver.send("q", "good")

    assert receiver.receive(1) == ["good"]
    assert store.lrange("q.unreadable", 0, -1) == [text]
    assert recorded(store).keys() == {receiver.got[0].delivery_tag}


@pytest.mark.parametrize(
    "entry", ["no JSON", "[1]", '[{}, "", "q"]', '[{"headers": {}}, "x", "y"]']
)
def test_an_unreadable_record_is_moved_aside(peer: Any, store: Any, entry: str) -> None:
    store.hset("unacked", "t", entry)
    store.zadd("unacked_index", {"t": 1.0, "gone": 1.0})

    peer("q").look()

    assert store.lrange("unacked.unreadable", 0, -1) == [entry.encode()]
    assert recorded(store) == {}


def test_a_cancelled_consumer_gets_nothing_more(peer: Any, store: Any) -> None:
    receiver = peer("q", prefetch=1)
    receiver.send("q", 1, 2)
    receiver.receive(1)

    receiver.consumer.cancel()
    receiver.got[0].ack()
    receiver.channel.connection.cycle.on_poll_start()

    assert store.llen("q") == 1
    assert recorded(store) == {}


def test_waiting_survives_the_loss_of_its_connections(peer: Any, store: Any) -> None:
    receiver = peer("a", "b")
    receiver.look()

    store.client_kill_filter(_type="normal", skipme=True)
    receiver.send("b", "after")

    assert receiver.receive(1) == ["after"]


def test_scripts_survive_a_redis_that_forgot_them(peer: Any, store: Any) -> None:
    receiver = peer("q")
    receiver.look()
    store.script_flush()
    receiver.send("q", 1)

    assert receiver.receive(1) == [1]


def test_a_full_redis_can_be_emptied_and_its_holders_seen_alive(peer: Any, store: Any) -> None:
    receiver = peer("q", "r", prefetch=4, visibility_timeout=1)
    receiver.send("q", *range(6))
    receiver.look()
    before = dict(store.zrange("unacked_index", 0, -1, withscores=True))
    store.config_set("maxmemory", 1)
    try:
        after = before
        while after == before:  # the suite's time limit ends it
            receiver.look(0.1)
            after = dict(store.zrange("unacked_index", 0, -1, withscores=True))
        for message in receiver.got:
            message.ack()
        got = receiver.receive(6)
    finally:
        store.config_set("maxmemory", 0)

    assert before.keys() == after.keys()
    assert all(after[receipt] > before[receipt] for receipt in before)
    assert got == list(range(6))


def test_connections_are_not_bound_by_the_pool_limit(peer: Any) -> None:
    receiver = peer(*[f"q{n}" for n in range(21)], max_connections=2)
    receiver.look()
    receiver.send("q20", "last")
    assert receiver.receive(1) == ["last"]


@pytest.mark.parametrize(
    "option",
    [
        {"global_keyprefix": "x"},
        {"ack_emulation": False},
        {"priority_steps": [0, 3]},
        {"queue_order_strategy": "sorted"},
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused(
    broker_url: str, option: dict[str, Any]
) -> None:
    connection = Connection(broker_url, transport=TRANSPORT, transport_options=option)
    with pytest.raises(ValueError, match=next(iter(option))):
        connection.connect()


def test_the_broker_shows_as_redis(broker_url: str) -> None:
    connection = Connection(broker_url.replace("://", "://:secret@"), transport=TRANSPORT)
    assert connection.as_uri().startswith("redis://:**@127.0.0.1:")
    assert connection.clone().transport_cls == TRANSPORT
