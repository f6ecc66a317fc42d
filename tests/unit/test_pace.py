"""How often a model is called: each call at a moment of its own, and none once a run stops."""

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import (
    LMAuthError,
    LMError,
    LMRateLimitError,
    LMServerError,
    LMTransportError,
)
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.errors import Cancelled
from bespoke_workers.optimization.budget import Budget
from bespoke_workers.optimization.language_model import gate, lm_cache
from bespoke_workers.optimization.language_model.gate import PATIENCE_SECONDS, RETRIES, Gate
from bespoke_workers.optimization.language_model.lm_cache import ContextCache, JobCache
from bespoke_workers.optimization.language_model.pace import (
    Admission,
    LocalPace,
    Rate,
)
from bespoke_workers.optimization.stopping import Stop, Stopped
from bespoke_workers.patience import LONGEST_SECONDS, backoff_seconds
from tests.nodes.waiting import SECONDS

ANSWER: dict[str, Any] = {"outputs": ["yes"], "usage": {"prompt_tokens": 7}, "cost": 0.25}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A pace that lets everybody pass and remembers what it was told."""

    def __init__(self) -> None:
        self.admitted = 0
        self.held: list[float] = []
        self.settled: list[tuple[float, int]] = []

    def admit(self) -> Admission:
        self.admitted += 1
        return Admission(0.0, tokens=5.0)

    def held_s(self) -> float:
        return 0.0

    def refused(self, seconds: float) -> None:
        self.held.append(seconds)

    def settle(self, reserved: float, used: int) -> None:
        self.settled.append((reserved, used))


class Waits(Stop):
    """A stop that notes how long it was waited for, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__(Budget(seconds=60, lm_calls=1))
        self.waited: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.check()


@given(
    asked=st.lists(st.floats(0, 5), min_size=1, max_size=60),
    per_minute=st.floats(1, 600),
    shares=st.integers(1, 5),
)
def test_calls_are_a_share_of_the_rate_apart_and_in_the_order_of_asking(
    asked: list[float], per_minute: float, shares: int
) -> None:
    clock = Clock()
    pace = LocalPace(Rate(requests=per_minute), shares, clock)
    moments = []
    for later in asked:
        clock.now += later
        moments.append(clock.now + pace.admit().wait_s)
    apart = [after - before for before, after in itertools.pairwise(moments)]
    assert all(each >= shares * 60 / per_minute - 1e-6 for each in apart)


def test_nobody_waits_where_nothing_is_limited() -> None:
    pace = LocalPace(Rate())
    assert [pace.admit().wait_s for _ in range(100)] == [0.0] * 100


def test_after_many_tokens_the_model_is_left_alone_for_as_long_as_they_ask_for() -> None:
    clock = Clock()
    pace = LocalPace(Rate(tokens=6000), clock=clock)
    assert pace.admit().wait_s == 0
    pace.settle(0, 500)
    assert pace.admit().wait_s == pytest.approx(5)


def test_nobody_calls_a_model_that_refused() -> None:
    clock = Clock()
    pace = LocalPace(Rate(), clock=clock)
    pace.refused(3)
    pace.refused(1)
    assert (pace.held_s(), pace.admit().wait_s) == (3, 3)
    clock.now += 3
    assert pace.admit().wait_s == 0


def test_a_back_off_doubles_up_to_a_minute_and_is_spread() -> None:
    longest = [backoff_seconds(failures, lambda: 1.0) for failures in range(1, 20)]
    shortest = [backoff_seconds(failures, lambda: 0.0) for failures in range(1, 20)]
    assert longest[:5] == [1, 2, 4, 8, 16]
    assert max(longest) == LONGEST_SECONDS
    assert shortest == [one / 2 for one in longest]


@pytest.mark.parametrize("how", ["its moment", "its share", "after a failure"])
def test_a_stop_ends_every_wait_at_once(how: str) -> None:
    class Never(Recorder):
        def admit(self) -> Admission:
            return Admission(600.0, granted=how == "its moment")

    stop = Stop(Budget(seconds=60))
    way = Gate(Never(), stop)
    ended: list[float] = []

    def wait() -> None:
        try:
            if how == "after a failure":
                way.trial().failed(LMServerError(status=500, retry_after=600.0))
            else:
                way.admit()
        except Stopped:
            ended.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.05)
    assert not ended
    stop.request(Cancelled("cancelled while it ran"))
    thread.join(SECONDS)
    assert ended


def test_a_call_whose_moment_was_held_up_gets_another() -> None:
    class Held(Recorder):
        def admit(self) -> Admission:
            self.admitted += 1
            return Admission(0.001)

        def held_s(self) -> float:
            return 1.0 if self.admitted == 1 else 0.0

    pace = Held()
    Gate(pace, Stop(Budget(seconds=60))).admit()
    assert pace.admitted == 2


def test_a_failed_call_is_not_paid_for() -> None:
    pace, stop = Recorder(), Waits()
    way = Gate(pace, stop)
    for _ in range(3):
        stop.spend()
        way.admit()
        way.trial().failed(LMTransportError())
    stop.spend()
    with pytest.raises(Stopped):
        stop.spend()
    assert pace.settled == [(5.0, 0)] * 3


def test_a_failure_is_retried_so_often_and_no_more() -> None:
    pace, stop = Recorder(), Waits()
    trial = Gate(pace, stop).trial()
    error = LMServerError(status=500)
    for _ in range(RETRIES):
        trial.failed(error)
    with pytest.raises(LMServerError):
        trial.failed(error)
    assert len(stop.waited) == RETRIES
    assert pace.held == []  # what one call runs into says nothing about others


@pytest.mark.parametrize("error", [LMAuthError(status=401), LMError()])
def test_what_would_fail_again_is_not_tried_again(error: LMError) -> None:
    stop = Waits()
    with pytest.raises(LMError):
        Gate(Recorder(), stop).trial().failed(error)
    assert stop.waited == []


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_server_that_is_asked_too_much_holds_everybody_back_for_as_long_as_it_asks(
    status: int,
) -> None:
    pace, stop = Recorder(), Waits()
    trial = Gate(pace, stop).trial()
    kind = LMRateLimitError if status == 429 else LMServerError
    trial.failed(kind(status=status, retry_after=7.5))
    for _ in range(5):
        trial.failed(kind(status=status))
    assert pace.held[0] == 7.5
    assert all(8 <= seconds <= 16 for seconds in pace.held[4:5])
    assert stop.waited == []  # the gate is where it waits, with everybody else
    with pytest.raises(LMError):
        trial.failed(kind(status=status, retry_after=PATIENCE_SECONDS + 1))


def test_only_answers_that_must_be_paid_for_pass_the_gate(tmp_path: Path) -> None:
    pace, stop, ours = Recorder(), Stop(Budget(seconds=60)), ContextCache()
    with (
        JobCache(tmp_path) as cache,
        dspy.context(**{lm_cache.SETTING: cache, gate.SETTING: Gate(pace, stop)}),
    ):
        assert ours.get({"prompt": "hello"}) is None
        ours.put({"prompt": "hello"}, ANSWER)
        assert [ours.get({"prompt": "hello"}) for _ in range(3)] == [ANSWER] * 3
    assert pace.admitted == 1
    assert pace.settled == [(5.0, 7)]
