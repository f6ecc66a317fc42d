"""What pytest-celery asks of a container, done by one process group of this machine."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

import psutil

from tests.nodes.waiting import SECONDS, gone, wait_until_gone

# Ends a node whose test run was killed: its input, a pipe from the run, comes to an end then.
GUARD = "import os, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), 9)"


class Process(Protocol):
    """As much of ``subprocess.Popen`` as a node needs."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> IO[str] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...


class ProcessContainer:
    """A command, run in a session of its own, whose output is kept.

    Not started by its constructor. `ready_prompt` is what the command prints when it is ready.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path | None = None,
        ready_prompt: str = "",
    ) -> None:
        self.name = name
        self.id = uuid.uuid4().hex[:12]
        self.ready_prompt = ready_prompt
        self._command = list(command)
        self._environment = dict(environment)
        self._directory = directory
        self._process: Process | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []
        self._at_end = True
        self._told = threading.Condition()

    @property
    def celeryconfig(self) -> dict[str, str]:
        """What the node adds to the application's configuration."""
        return {}

    @property
    def pid(self) -> int:
        """Process id of the main process, which is also that of its group and session."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def status(self) -> str:
        """`created`, `running` or `exited`, in Docker's words."""
        if self._process is None:
            return "created"
        return "running" if self._process.poll() is None else "exited"

    def start(self) -> None:
        """Start the command; its output goes on where an earlier one's stopped."""
        assert self.status != "running", f"{self.name} runs already"
        self._dismiss_guard()
        self._process = self._spawn()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", GUARD, str(self.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._at_end = False
        self._reader = threading.Thread(target=self._read, args=[self._process], daemon=True)
        self._reader.start()

    def _spawn(self) -> Process:
        return subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def ready(self) -> bool:
        """Start if need be and wait for the prompt; raises with the output if it does not come."""
        if self.status != "running":
            self.start()
        self.wait_for_log(self.ready_prompt)
        return True

    def logs(self) -> str:
        """All that the command has printed so far."""
        return "".join(self._lines)

    def wait_for_log(self, text: str, seconds: float = SECONDS, *, after: int = 0) -> None:
        """Return once `text` is printed beyond position `after`; AssertionError with the log."""
        with self._told:
            self._told.wait_for(
                lambda: text in self.logs()[after:] or self._at_end, timeout=seconds
            )
        output = self.logs()
        assert text in output[after:], f"{self.name} never printed {text!r}: {output}"

    def children(self) -> list[psutil.Process]:
        """The main process's descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal to the main process; after SIGKILL, wait until it has ended."""
        assert self._process is not None
        number = _number(signal)
        self._process.send_signal(number)
        if number == _number("SIGKILL"):
            self._process.wait(SECONDS)

    def kill_group(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal to the main process and its children; after SIGKILL, wait for the end."""
        number = _number(signal)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        if number == _number("SIGKILL"):
            wait_until_gone(self._session())

    def terminate(self, seconds: float = SECONDS) -> int:
        """Ask the main process to end in order; its exit code, or subprocess.TimeoutExpired."""
        self.kill("SIGTERM")
        return self.wait(seconds)

    def wait(self, seconds: float = SECONDS) -> int:
        """The main process's exit code, once it has ended; or subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(seconds)

    def restart(self, timeout: float = SECONDS) -> None:
        """End in order, by force after `timeout` seconds, then start and wait until ready."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.terminate(timeout)
        self.teardown()
        after = len(self.logs())
        self.start()
        self.wait_for_log(self.ready_prompt, after=after)

    def reload(self) -> None:
        """Nothing to do: `status` is always fresh."""

    def teardown(self) -> None:
        """Kill what runs; raises TimeoutError if something of it lingers all the same."""
        if self._process is None:
            return
        self.kill_group()
        self._dismiss_guard()
        self._process.wait(SECONDS)
        assert self._reader is not None
        self._reader.join(SECONDS)
        assert self._at_end, f"a process that left {self.name}'s session holds its output"

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _read(self, process: Process) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with self._told:
                    self._lines.append(line)
                    self._told.notify_all()
        with self._told:
            self._at_end = True
            self._told.notify_all()

    def _session(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid and not gone(process):
                    found.append(process)
        return found


def _number(name: str | int) -> int:
    return signal.Signals[name] if isinstance(name, str) else name
