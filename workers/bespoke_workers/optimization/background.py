"""A thread that a coroutine waits for, or gives up: it keeps no process from ending."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> "asyncio.Future[T]":
    """Run ``work`` in a thread of its own; cancelling the future leaves the thread alone."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    # Whoever gives it up does not ask how it failed, which asyncio would report as forgotten.
    future.add_done_callback(_look_at)
    context = copy_context()

    def succeed(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        # Of one that was given up, the loop may be closed by now.
        with suppress(RuntimeError):
            try:
                result = context.run(work)
            except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(succeed, result)

    threading.Thread(target=run, name="bespoke-run", daemon=True).start()
    return future


def _look_at(ended: "asyncio.Future[T]") -> None:
    if not ended.cancelled():
        ended.exception()
