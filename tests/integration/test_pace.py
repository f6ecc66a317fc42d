"""Workers keep to one rate together, through Redis, and each to its share while it is away."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from bespoke_workers.local import LocalRedis
from bespoke_workers.optimization.language_model import shared_pace
from bespoke_workers.optimization.language_model.pace import Rate
from bespoke_workers.optimization.language_model.shared_pace import FIRST_GAP_SECONDS, SharedPace
from tests.nodes.waiting import wait_until

MODEL = "openai/standin"


opened: list[SharedPace] = []


def pace(url: str, rate: Rate, model: str = MODEL) -> SharedPace:
    opened.append(SharedPace(url, model, "http://127.0.0.1:1/v1", rate))
    return opened[-1]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while opened:
        opened.pop().close()


@pytest.fixture
def known(broker_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(broker_url, decode_responses=True) as client:
        yield client


def _at(known: "redis.Redis", name: str) -> float:
    (key,) = known.scan_iter(_type="hash")
    return float(known.hget(key, name) or 0) / 1e6


def test_calls_of_all_workers_together_are_as_far_apart_as_the_rate_asks_for(
    broker_url: str,
) -> None:
    paces = [pace(broker_url, Rate(requests=30)) for _ in range(4)]
    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        waits = sorted(threads.map(lambda n: paces[n % 4].admit().wait_s, range(24)))
    took = time.monotonic() - began
    apart = [after - before for before, after in itertools.pairwise(waits)]
    assert waits[-1] >= 23 * 2 - took
    assert all(each == pytest.approx(2, abs=took + 0.01) for each in apart)


def test_each_model_has_a_pace_of_its_own(broker_url: str) -> None:
    one, another = (pace(broker_url, Rate(requests=1), name) for name in ("a/b", "a/c"))
    began = time.monotonic()
    assert one.admit().wait_s == another.admit().wait_s == 0
    waits = one.admit().wait_s
    assert 60 - (time.monotonic() - began) <= waits <= 60


def test_one_worker_s_refusal_holds_all_back_and_slows_them_after_it(
    broker_url: str, known: "redis.Redis"
) -> None:
    one, another = pace(broker_url, Rate()), pace(broker_url, Rate())
    assert another.admit().wait_s == another.held_s() == 0
    assert known.keys() == []  # where nothing is limited nothing is written
    began = time.monotonic()
    one.refused(60)
    one.refused(30)
    held = another.held_s()
    admitted = [(each.admit().wait_s, time.monotonic()) for each in (another, one, another)]
    took = time.monotonic() - began
    assert 60 - took <= held <= 60
    assert 60 - took <= admitted[0][0] <= 60
    moments = [at + wait for wait, at in admitted]  # each later by no more than an answer takes
    for before, after in itertools.pairwise(moments):
        assert after - before == pytest.approx(FIRST_GAP_SECONDS, abs=took)
    assert _at(known, "next") - _at(known, "held") == pytest.approx(3 * FIRST_GAP_SECONDS, rel=0.01)


def test_what_was_refused_together_slows_once_and_each_time_after_that_twice_as_much(
    broker_url: str, known: "redis.Redis"
) -> None:
    paces = [pace(broker_url, Rate()) for _ in range(3)]
    gaps = []
    for _ in range(3):
        for each in paces:
            each.refused(60)
        (key,) = known.keys()
        gaps.append(int(known.hget(key, "gap") or 0))
        seconds, microseconds = known.time()
        now = seconds * 1_000_000 + microseconds
        known.hset(key, mapping={"held": now - 1, "slowed": now + 60_000_000})  # it has passed
    assert gaps == [FIRST_GAP_SECONDS * 1e6 * times for times in (1, 2, 4)]


def test_tokens_are_counted_when_they_are_known_and_reserved_by_what_calls_take(
    broker_url: str,
) -> None:
    one, another = (pace(broker_url, Rate(tokens=600)) for _ in range(2))
    began = time.monotonic()
    admission = one.admit()
    assert (admission.wait_s, admission.tokens) == (0, 0)
    one.settle(admission.tokens, 100)  # at 10 a second
    later = another.admit()
    second = one.admit().wait_s
    another.settle(later.tokens, 0)  # it failed: its time is free again
    third = one.admit().wait_s
    took = time.monotonic() - began
    assert later.tokens == 100
    assert later.wait_s == pytest.approx(10, abs=took)
    assert second == pytest.approx(20, abs=took)
    assert third == pytest.approx(20, abs=took)


def test_while_redis_is_away_each_process_takes_its_share_and_none_that_knows_of_no_share(
    broker_url: str, redis_server: LocalRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_pace, "AWAY_SECONDS", 0.1)
    paces = [pace(broker_url, Rate(requests=60)) for _ in range(3)]
    for each in paces * 2:
        each.admit()
    redis_server.stop()
    began = time.monotonic()
    first = paces[0].admit().wait_s
    assert paces[0].admit().wait_s - first == pytest.approx(3, abs=time.monotonic() - began)
    newcomer = pace(broker_url, Rate(requests=60))
    assert not newcomer.admit().granted
    unlimited = pace(broker_url, Rate())
    assert unlimited.admit().wait_s == 0
    unlimited.refused(30)
    assert unlimited.held_s() > 25
    redis_server.start()
    wait_until(lambda: newcomer.admit().granted, "Redis back")
    assert newcomer.admit().granted
