"""The channels that consume a family's shards divide them, and none is left without an owner."""

import json
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
import redis

from tests.integration.transport_peer import Peer
from tests.nodes.waiting import SECONDS

SHARDS = [f"s.{number}" for number in range(16)]
OPTIONS: dict[str, Any] = {"sharded_queues": SHARDS, "member_timeout": 0.8, "peek_seconds": 0.5}


@pytest.fixture
def store(broker_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(broker_url) as client:
        yield client


@pytest.fixture
def member(broker_url: str) -> Iterator[Callable[..., Peer]]:
    """Make members of this test's broker, closed at the end."""
    peers: list[Peer] = []

    def make(*queues: str, **options: Any) -> Peer:
        peers.append(Peer(broker_url, *(queues or SHARDS), **OPTIONS | options))
        return peers[-1]

    yield make
    for each in peers:
        each.connection.close()


def share(peer: Peer) -> set[str]:
    return {queue for queue in peer.channel.active_queues if peer.channel.membership.owns(queue)}


def until(true: Callable[[], bool], *live: Peer) -> None:
    """Give each live member turns of its loop until something is true."""
    deadline = monotonic() + SECONDS
    while not true():
        assert monotonic() < deadline, [sorted(share(peer)) for peer in live]
        for peer in live:
            peer.look(0.02)


def divided(*live: Peer) -> bool:
    """Whether each shard has one owner among these, and their shares are even."""
    shares = [share(peer) for peer in live]
    sizes = [len(each) for each in shares]
    everything = set().union(*shares) == set(SHARDS) and sum(sizes) == len(SHARDS)
    return everything and max(sizes) - min(sizes) <= 1


def test_members_divide_the_shards_and_take_messages_of_their_own(member: Any) -> None:
    # As long as no stall of a busy machine is: the shares must stay as they are meanwhile.
    first, second = member(member_timeout=3.0), member(member_timeout=3.0)
    until(lambda: divided(first, second), first, second)
    for queue in SHARDS:
        first.send(queue, queue)

    until(lambda: len(first.got) + len(second.got) == len(SHARDS), first, second)

    assert set(first.bodies()) == share(first)
    assert set(second.bodies()) == share(second)


def test_a_new_member_gets_its_share(member: Any) -> None:
    first, second = member(), member()
    until(lambda: divided(first, second), first, second)

    third = member()

    until(lambda: divided(first, second, third), first, second, third)


def test_who_dies_without_a_word_loses_its_shards_and_gets_them_back_alive(member: Any) -> None:
    silent, heir = member(), member()
    until(lambda: divided(silent, heir), silent, heir)
    orphan = min(share(silent))
    heir.send(orphan, "waits for nobody")

    until(lambda: heir.bodies() == ["waits for nobody"], heir)
    assert divided(heir)

    until(lambda: divided(silent, heir), silent, heir)


def test_who_leaves_in_order_is_off_the_list_at_once(member: Any, store: Any) -> None:
    leaving, staying = member(), member()
    until(lambda: divided(leaving, staying), leaving, staying)

    leaving.consumer.cancel()
    assert store.zcard("members") == 1
    staying.connection.close()
    assert not store.exists("members")


def test_when_all_have_left_the_next_to_come_serves_everybody(member: Any) -> None:
    first, second = member(), member()
    until(lambda: divided(first, second), first, second)
    first.connection.close()
    second.connection.close()
    late = member()
    late.send("s.7", "still there")

    assert late.receive(1) == ["still there"]


def test_a_flushed_redis_learns_its_members_anew(member: Any, store: Any) -> None:
    first, second = member(), member()
    until(lambda: divided(first, second), first, second)

    store.flushall()
    first.send("s.0", "after")

    until(lambda: first.bodies() + second.bodies() == ["after"], first, second)
    until(lambda: store.zcard("members") == 2 and divided(first, second), first, second)


def test_only_members_that_consume_a_shard_are_candidates_for_it(member: Any) -> None:
    everything, few, other = member(), member("s.3", "s.4"), member("s.3", "reads")
    peers = everything, few, other

    def one_owner_each() -> bool:
        owned = [queue for peer in peers for queue in share(peer)]
        return sorted(owned) == sorted([*SHARDS, "reads"])

    until(one_owner_each, *peers)
    everything.send("reads", "no shard")
    assert other.receive(1) == ["no shard"]

    few.connection.close()
    other.connection.close()
    until(lambda: divided(everything), everything)


def test_a_member_of_a_future_that_never_was_is_dropped(member: Any, store: Any) -> None:
    store.zadd("members", {json.dumps(["ghost", *SHARDS]): 9e9})
    live = member()

    until(lambda: divided(live), live)

    assert store.zcard("members") == 1


@pytest.mark.parametrize("entry", ["no JSON", "7", "[]", "[[], 1]"])
def test_with_an_unreadable_list_a_member_takes_everything(
    member: Any, store: Any, entry: str
) -> None:
    store.zadd("members", {entry: 9e9})
    live = member()
    until(lambda: divided(live), live)


def test_with_no_list_to_be_had_a_member_takes_everything(member: Any, store: Any) -> None:
    store.set("members", "a string")
    live = member()
    until(lambda: divided(live), live)
    live.connection.close()


def test_a_full_redis_still_tells_who_lives(member: Any, store: Any) -> None:
    first, second = member(), member()
    until(lambda: divided(first, second), first, second)
    store.config_set("maxmemory", 1)
    try:
        store.delete("members")
        until(lambda: store.zcard("members") == 2 and divided(first, second), first, second)
    finally:
        store.config_set("maxmemory", 0)


def test_a_member_without_room_leaves_its_shards_until_it_has_some(member: Any) -> None:
    full, free = member(prefetch=1), member()
    until(lambda: divided(full, free), full, free)
    full.send(min(share(full)), "long")
    full.receive(1)

    until(lambda: divided(free) and not share(full), full, free)

    full.got[0].ack()
    until(lambda: divided(full, free), full, free)
