"""Ctrl-C while a server is being started: nothing runs on that nobody would stop."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from bespoke_workers.local import child
from tests.nodes.waiting import SECONDS, gone, wait_until_gone

SLEEP = shutil.which("sleep") or "/bin/sleep"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Interrupted(subprocess.Popen[bytes]):
    """A process at whose start a signal comes: it runs, and its starter does not know it yet."""

    number = signal.SIGINT
    started: list[psutil.Process]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.started.append(psutil.Process(self.pid))
        signal.raise_signal(self.number)


@pytest.fixture
def interrupting(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Interrupted]]:
    """Handlers as ``bespoke up`` has them, and the signal that comes at each start."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    earlier = [signal.signal(number, interrupt) for number in SIGNALS]
    Interrupted.started, Interrupted.number = [], signal.SIGINT
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    yield Interrupted
    for number, handler in zip(SIGNALS, earlier, strict=True):
        signal.signal(number, handler)
    for process in Interrupted.started:
        if not gone(process):
            process.kill()


@pytest.mark.parametrize("number", SIGNALS)
def test_what_was_just_started_is_stopped(
    tmp_path: Path, interrupting: type[Interrupted], number: signal.Signals
) -> None:
    interrupting.number = number
    handlers = [signal.getsignal(each) for each in SIGNALS]
    server = child.Child("a sleeper", tmp_path, signal.SIGTERM, signal.SIGKILL)
    server.claim()

    with pytest.raises(KeyboardInterrupt):
        server.spawn([SLEEP, str(SECONDS)])
    server.stop()

    assert interrupting.started
    wait_until_gone(interrupting.started)
    assert [signal.getsignal(each) for each in SIGNALS] == handlers


def test_what_is_ignored_stays_ignored(tmp_path: Path, interrupting: type[Interrupted]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = child.Child("a sleeper", tmp_path, signal.SIGTERM, signal.SIGKILL)
    server.claim()

    server.spawn([SLEEP, str(SECONDS)])

    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    server.stop()
    wait_until_gone(interrupting.started)
