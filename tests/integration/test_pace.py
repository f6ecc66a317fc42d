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
    assert one.admit().wait_s == another.admit().wait_s == 0
    assert one.admit().wait_s > 59


def test_one_worker_s_refusal_holds_all_back_and_slows_them_after_it(
    broker_url: str, known: "redis.Redis"
) -> None:
    one, another = pace(broker_url, Rate()), pace(broker_url, Rate())
    assert another.admit().wait_s == another.held_s() == 0
    assert known.keys() == []  # where nothing is limited nothing is written
    one.refused(60)
    one.refused(30)
    assert 55 < another.held_s() <= 60
    first, second, third = (each.admit().wait_s for each in (another, one, another))
    assert 55 < first <= 60
    for before, after in ((first, second), (second, third)):
        assert after - before == pytest.approx(FIRST_GAP_SECONDS, abs=0.04)


def test_what_was_refused_together_slows_once_and_each_time_after_that_twice_as_much(
    broker_url: str, known: "redis.Redis"
) -> None:
    paces = [pace(broker_url, Rate()) for _ in range(3)]
    gaps = []
    for _ in range(3):
        for each in paces:
            each.refused(0.05)
        (key,) = known.keys()
        gaps.append(int(known.hget(key, "gap") or 0))
        wait_until(lambda: paces[0].held_s() == 0, "its moment past")
    assert gaps[0] == FIRST_GAP_SECONDS * 1e6
    assert gaps[1:] == [pytest.approx(2 * gaps[0], rel=0.05), pytest.approx(4 * gaps[0], rel=0.05)]


def test_tokens_are_counted_when_they_are_known_and_reserved_by_what_calls_take(
    broker_url: str,
) -> None:
    one, another = (pace(broker_url, Rate(tokens=600)) for _ in range(2))
    admission = one.admit()
    assert (admission.wait_s, admission.tokens) == (0, 0)
    one.settle(admission.tokens, 100)  # at 10 a second
    later = another.admit()
    assert later.tokens == 100
    assert later.wait_s == pytest.approx(10, abs=1)
    assert one.admit().wait_s == pytest.approx(20, abs=1)
    another.settle(later.tokens, 0)  # it failed: its time is free again
    assert one.admit().wait_s == pytest.approx(20, abs=1)


def test_while_redis_is_away_each_process_takes_its_share_and_none_that_knows_of_no_share(
    broker_url: str, redis_server: LocalRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_pace, "AWAY_SECONDS", 0.1)
    paces = [pace(broker_url, Rate(requests=60)) for _ in range(3)]
    for each in paces * 2:
        each.admit()
    redis_server.stop()
    first = paces[0].admit().wait_s
    assert paces[0].admit().wait_s - first == pytest.approx(3, abs=0.5)
    newcomer = pace(broker_url, Rate(requests=60))
    assert not newcomer.admit().granted
    unlimited = pace(broker_url, Rate())
    assert unlimited.admit().wait_s == 0
    unlimited.refused(30)
    assert unlimited.held_s() > 25
    redis_server.start()
    wait_until(lambda: newcomer.admit().granted, "Redis back")
    assert newcomer.admit().granted
