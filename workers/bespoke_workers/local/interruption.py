"""Signals that come in the middle of a start are heard when it is whole."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let what a signal's handler raises wait for the end of the block.

    Raised between the start of a process and the note of it, it would leave the process to nobody.
    Only the main thread handles signals, so elsewhere nothing can be raised.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    earlier: dict[signal.Signals, Handler] = {}
    try:
        for number in NUMBERS:
            handler = signal.getsignal(number)
            if callable(handler):  # neither ignored nor the end of this process
                earlier[number] = handler
                signal.signal(number, lambda number, frame: heard.append(number))
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])
