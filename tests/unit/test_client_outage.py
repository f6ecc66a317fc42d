import itertools

import pytest
import redis.exceptions
from kombu.exceptions import OperationalError

from bespoke_client import BrokerRefused, BrokerUnavailable
from bespoke_client.outage import Patience
from bespoke_client.settings import Address

ADDRESS = Address("redis://:secret@127.0.0.1:1/0", "BESPOKE_BROKER_URL")
AWAY = redis.exceptions.ConnectionError("Error 111 connecting.\nConnection refused.")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("bespoke_client.outage.time.monotonic", lambda: float(next(ticks)))


def test_pauses_grow_until_the_time_is_up() -> None:
    patience = Patience(ADDRESS, 4)
    pauses = [patience.after(AWAY) for _ in range(3)]
    assert pauses == [0.05, 0.1, 0.2]
    with pytest.raises(BrokerUnavailable) as caught:
        patience.after(AWAY)
    assert str(caught.value) == (
        "Redis at redis://:***@127.0.0.1:1/0 did not answer within 4 s (Error 111 connecting. "
        "Connection refused.); start it, or correct BESPOKE_BROKER_URL"
    )


def test_an_answer_renews_it() -> None:
    patience = Patience(ADDRESS, 2.5)
    for _ in range(20):
        assert patience.after(AWAY) == 0.05
        patience.renew()


def test_a_moment_may_end_it_earlier() -> None:
    patience = Patience(ADDRESS, 60, until=0.5)
    with pytest.raises(BrokerUnavailable):
        patience.after(AWAY)


def wrapped(cause: Exception) -> OperationalError:
    error = OperationalError("wrapped by kombu")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.AuthenticationError("wrong"),
        redis.exceptions.ResponseError("DB index is out of range"),
        redis.exceptions.NoPermissionError("no"),
        wrapped(redis.exceptions.AuthenticationError("wrong")),
    ],
)
def test_a_refusal_is_not_tried_again(error: Exception) -> None:
    with pytest.raises(BrokerRefused, match=r"redis://:\*\*\*@.* BESPOKE_BROKER_URL"):
        Patience(ADDRESS, 60).after(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.OutOfMemoryError("full"),
        redis.exceptions.ReadOnlyError("replica"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.exceptions.TimeoutError("late"),
        ConnectionResetError("reset"),
        wrapped(OSError("gone")),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert Patience(ADDRESS, 60).after(error) > 0
