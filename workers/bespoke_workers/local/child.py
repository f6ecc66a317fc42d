"""A server process that this process owns: spawned, watched, stopped and killed here."""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from bespoke_workers.errors import Misconfigured
from bespoke_workers.local.account import Account, run_as
from bespoke_workers.local.claim import Claim
from bespoke_workers.local.interruption import deferred
from bespoke_workers.local.tether import Tether

GENTLE_SECONDS = 15.0  # a fast shutdown writes a checkpoint first
FIRM_SECONDS = 5.0
POLL_SECONDS = 0.01
LOG_BYTES = 1 << 20  # beyond this a start sets the log aside
SERVER_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}
CLOCK_SECONDS = 5.0  # a process's start time moves with the machine's clock


class Child:
    """One server in the foreground, a direct child in a session of its own.

    So Ctrl-C in a terminal reaches this process alone, which then stops the server; a leash stops
    it when this process dies without having done so. `gentle` and `firm` are the server's signals
    for an orderly and for an immediate end.
    """

    def __init__(
        self, name: str, directory: Path, gentle: signal.Signals, firm: signal.Signals
    ) -> None:
        self._name = name
        self._gentle = gentle
        self._firm = firm
        self._log = directory / "server.log"
        self._record = directory / "server.pid"
        self._claim = Claim(directory, name)
        self._server: subprocess.Popen[bytes] | None = None
        self._tether: Tether | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it does not run."""
        return self._server.pid if self._server and self._server.poll() is None else None

    def claim(self) -> None:
        """Become the directory's owner and stop what a crashed owner left running there."""
        self._claim.take()
        with contextlib.suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            pid, started = json.loads(self._record.read_text())
            orphan = psutil.Process(pid)
            if abs(orphan.create_time() - started) < CLOCK_SECONDS:
                self._end_orphan(orphan)
        self._record.unlink(missing_ok=True)

    def spawn(
        self,
        command: Sequence[str],
        account: Account | None = None,
        *,
        environment: Mapping[str, str] | None = SERVER_ENVIRONMENT,
        directory: Path = Path("/"),
    ) -> None:
        """Start the server; `claim` must have been called.

        `environment` None means this process's own; `directory` is the working directory, by
        default one that a server's account is surely allowed into.
        """
        with self._open_log() as log, deferred():
            self._server = subprocess.Popen(  # noqa: S603 - a path of ours, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=directory,
                env=environment,
                **run_as(account),
            )
            pid = self._server.pid
            self._tether = Tether(pid, self._gentle, self._firm)
            with contextlib.suppress(psutil.NoSuchProcess):  # wait_until says why it ended
                self._record.write_text(json.dumps([pid, psutil.Process(pid).create_time()]))

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for `ready`; raises Misconfigured with the log's last line if it never is."""
        assert self._server is not None
        deadline = time.monotonic() + seconds
        while not ready():
            if self._server.poll() is not None or time.monotonic() > deadline:
                code = self._server.returncode
                why = f"was not ready after {seconds:.0f} s" if code is None else f"ended ({code})"
                self.kill()
                raise Misconfigured(
                    f"{self._name} {why}; its log {str(self._log)!r} ends in {self._last_line()!r}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the server in order, at once if that takes too long, by force if that does too."""
        if self._server is not None:
            for number, seconds in ((self._gentle, GENTLE_SECONDS), (self._firm, FIRM_SECONDS)):
                self._server.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._server.wait(seconds)
                    break
        self.kill()

    def kill(self) -> None:
        """End the server and its own children by SIGKILL and wait until they are gone."""
        if self._server is not None:
            _kill_tree(self._server)
            self._server = None
            self._record.unlink(missing_ok=True)
        if self._tether is not None:
            self._tether.release()
            self._tether = None
        self._claim.release()

    def _end_orphan(self, orphan: psutil.Process) -> None:
        for number, seconds in ((self._gentle, GENTLE_SECONDS), (self._firm, FIRM_SECONDS)):
            orphan.send_signal(number)
            if _ends(orphan, seconds):
                return
        orphan.kill()
        _ends(orphan, FIRM_SECONDS)

    def _open_log(self) -> IO[bytes]:
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        return self._log.open("ab")

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _ends(orphan: psutil.Process, seconds: float) -> bool:
    """Wait for the end of a process whose new parent may never reap it."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(psutil.NoSuchProcess):
        while orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
    return True


def _kill_tree(server: subprocess.Popen[bytes]) -> None:
    """Kill a process with its descendants; halted first, so that no new one is missed."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(server.pid)
        root.suspend()
        family = root.children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.kill()
    server.wait()
    for process in family:
        _ends(process, FIRM_SECONDS)
