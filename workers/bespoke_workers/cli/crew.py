"""`bespoke worker -P solo -c N`: N workers of one process each, under a small parent."""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import FrameType

import click

from bespoke_workers.local.tether import Tether

LOOK_SECONDS = 0.2
REVIVE_SECONDS = 2.0
"""A worker that dies at once again is not started more often than this."""
STOP_SECONDS = 150.0
"""Longer than the longest short job; a worker that has not ended by then is killed."""
PASSED_ON = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
    signal.SIGQUIT: signal.SIGQUIT,
    # Celery would start again on it; the terminal is gone, and so is whoever started us.
    signal.SIGHUP: signal.SIGTERM,
}


@dataclass
class _Worker:
    child: subprocess.Popen[bytes]
    tether: Tether
    started_at: float

    def running(self) -> bool:
        return self.child.poll() is None


class Crew:
    """Worker processes that are started again when they die and stopped together.

    Each is in a session of its own, so that Ctrl-C reaches it once, from here, and on a leash,
    so that it stops if this process is killed.
    """

    def __init__(self, commands: dict[str, list[str]]) -> None:
        """``commands`` maps each worker's name to the arguments of ``bespoke``."""
        self._commands = commands
        self._workers: dict[str, _Worker] = {}
        self._told: list[signal.Signals] = []
        self._kill_at = 0.0

    def run(self) -> int:
        """Run until told to stop and all have ended; returns the exit code, 0 if all was well."""
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)
        for name, arguments in self._commands.items():
            self._start(name, arguments)
        while not self._told:
            time.sleep(LOOK_SECONDS)
            self._revive()
        while any(one.running() for one in self._workers.values()):
            time.sleep(LOOK_SECONDS)
            if time.monotonic() > self._kill_at:
                self._signal(signal.SIGKILL)
        for one in list(self._workers.values()):
            one.tether.release()
        return 0 if all(one.child.returncode == 0 for one in self._workers.values()) else 1

    def _start(self, name: str, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "bespoke_workers.cli", *arguments]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  # our own command, no shell
        tether = Tether(child.pid, signal.SIGTERM, signal.SIGQUIT)
        self._workers[name] = _Worker(child, tether, time.monotonic())
        if self._told:  # while it was being started, so that it has not heard
            child.send_signal(self._told[-1])

    def _revive(self) -> None:
        for name, one in list(self._workers.items()):
            if one.running() or time.monotonic() - one.started_at < REVIVE_SECONDS:
                continue
            one.tether.release()
            code = one.child.returncode
            click.echo(f"bespoke: {name} ended ({code}) and is started again", err=True)
            self._start(name, self._commands[name])

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if not self._told:
            self._kill_at = time.monotonic() + STOP_SECONDS
        self._told.append(PASSED_ON[signal.Signals(number)])
        self._signal(self._told[-1])

    def _signal(self, number: signal.Signals) -> None:
        for one in list(self._workers.values()):
            one.child.send_signal(number)
