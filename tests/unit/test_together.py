"""Many are done, some at once, each as if it were the only one in its caller's context."""

import threading
from contextvars import ContextVar

import pytest

from bespoke_workers.optimization.judging.together import together
from bespoke_workers.optimization.stopping import Stopped

SECONDS = 20
shown: ContextVar[str] = ContextVar("shown", default="nothing")


def test_answers_come_in_the_order_of_what_was_given() -> None:
    last_first = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert last_first.wait(SECONDS)
        if number == 9:
            last_first.set()
        return number * number

    assert together(work, range(10), threads=2) == [number**2 for number in range(10)]
    assert together(work, [], threads=4) == []


def test_as_many_are_under_way_at_once_as_there_are_threads_and_no_more() -> None:
    meeting = threading.Barrier(3)
    under_way, most, lock = set(), 0, threading.Lock()

    def work(number: int) -> None:
        nonlocal most
        with lock:
            under_way.add(number)
            most = max(most, len(under_way))
        meeting.wait(SECONDS)
        with lock:
            under_way.remove(number)

    together(work, range(9), threads=3)
    assert most == 3


def test_each_is_done_in_the_callers_context_and_leaves_nothing_to_the_next() -> None:
    def work(number: int) -> str:
        before = shown.get()
        shown.set(f"of {number}")
        return before

    token = shown.set("the caller's")
    try:
        assert together(work, range(8), threads=2) == ["the caller's"] * 8
        assert shown.get() == "the caller's"
    finally:
        shown.reset(token)


def test_what_one_raises_is_raised_at_once_and_nothing_is_begun_after_it() -> None:
    begun: list[int] = []
    waiting, go_on = threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            waiting.set()
            assert go_on.wait(SECONDS)
        if number == 1:
            assert waiting.wait(SECONDS)
            raise Stopped

    with pytest.raises(Stopped):
        together(work, range(20), threads=2)
    go_on.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(SECONDS)
    assert sorted(begun) == [0, 1]
