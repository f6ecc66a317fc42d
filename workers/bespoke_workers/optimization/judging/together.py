"""Doing one thing with many, some of them at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _NotBegunError(Exception):
    """Another one had failed."""


def together(work: Callable[[T], R], given: Sequence[T], threads: int) -> list[R]:
    """Return what ``work`` makes of each, in their order; each is done in the caller's context.

    What one of them raises is raised at once, and none is begun after that. Those that were are
    not waited for. DSPy's own executor costs a millisecond for each, does not take the caller's
    context along, and asks a second time where an answer takes two minutes.
    """
    context, failed = copy_context(), Event()

    def one(item: T) -> R:
        if failed.is_set():  # and this thread has come to it before it was withdrawn
            raise _NotBegunError
        try:
            # A copy for each, so that none finds what another has set.
            return context.copy().run(work, item)
        except BaseException:
            failed.set()
            raise

    pool = ThreadPoolExecutor(max_workers=max(min(threads, len(given)), 1))
    try:
        begun = [pool.submit(one, item) for item in given]
        for ended in wait(begun, return_when=FIRST_EXCEPTION).done:
            if not isinstance(ended.exception(), _NotBegunError):
                ended.result()
        return [each.result() for each in begun]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
