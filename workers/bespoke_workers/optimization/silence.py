"""Keeps what DSPy says while it works out of the logs: it quotes examples and answers."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TextIO
from weakref import WeakSet

from dspy.utils.parallelizer import tqdm

ABOVE_ALL = logging.CRITICAL + 1

_silent: ContextVar[bool] = ContextVar("bespoke_silent", default=False)


class _Deaf(io.TextIOBase):
    """A standard stream that drops what is written from within ``silenced``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if _silent.get() else self._stream.write(text)

    def flush(self) -> None:
        # Called at the end of this object too, when the stream may be gone.
        if not self._stream.closed:
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it writable
        return self._stream.encoding


class _Bars(WeakSet[Any]):
    """The progress bars of the process, which stay here until they are closed.

    DSPy empties the set whenever it starts threads, without its lock: a run beside it, about to
    take out a bar of its own, would fail.
    """

    def clear(self) -> None:
        """Do nothing."""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drop what this thread prints, progress bars included, and what DSPy and Optuna log.

    Other threads of the process go on printing: ``redirect_stdout`` would silence them too.
    """
    _hush_loggers()
    _keep_bars()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Deaf):
            setattr(sys, name, _Deaf(stream))
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def _hush_loggers() -> None:
    # Importing DSPy turns its loggers on again, so this cannot be done once and for all.
    for name in ("dspy", "optuna"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(ABOVE_ALL)


def _keep_bars() -> None:
    bars = tqdm.tqdm
    with bars.get_lock():
        if not isinstance(bars._instances, _Bars):
            bars._instances = _Bars(bars._instances)
