"""A process that has imported what every worker does, and forks workers from itself.

Most of a worker's start is importing. Each session of tests imports once, here, and each of its
workers is a fork: with the environment, directory, arguments, session and output of its own that
it is given, as ``python -m MODULE`` would run it. Nothing is imported here that reads the
environment or starts threads. It ends when the session does.
"""

import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

PRELOADED = (
    "celery.bin.celery",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.worker.components",
    "celery.worker.consumer",
    "bespoke_workers.configuration",
    "bespoke_workers.revoking",
    "bespoke_workers.runtime",
    "bespoke_workers.transport",
)
NUMBER = struct.Struct("q")
LARGEST_REQUEST = 2**20  # bytes


class Nursery:
    """The test's side: starts processes, and asks for nothing else."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path
    ) -> "Nursling":
        """Run a module as a program; its standard error goes where its output does."""
        request = [module, list(arguments), dict(environment), str(cwd)]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        reading, writing = os.pipe()
        try:
            socket.send_fds(
                self._requests, [json.dumps(request).encode()], [writing, theirs.fileno()]
            )
        finally:
            theirs.close()
            os.close(writing)
        return Nursling(ours, os.fdopen(reading, encoding="utf-8", errors="replace"))


class Nursling:
    """A process that was started there, with as much of ``subprocess.Popen`` as nodes use."""

    def __init__(self, told: socket.socket, stdout: IO[str]) -> None:
        self._told = told
        self.stdout: IO[str] | None = stdout
        self.pid = self._number()
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when it has ended; raises subprocess.TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _look(self, seconds: float | None) -> int | None:
        if self._code is None and select.select([self._told], [], [], seconds)[0]:
            self._code = self._number()
            self._told.close()
        return self._code

    def _number(self) -> int:
        packed = self._told.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(packed) < NUMBER.size:
            raise RuntimeError("the nursery has ended; its output says why")
        number: int = NUMBER.unpack(packed)[0]
        return number


@cache
def nursery() -> Nursery:
    """Return the one of this session."""
    return Nursery()


def serve(requests: socket.socket) -> list[Any]:
    """Fork for each request until the session ends; return the request in the fork."""
    born: dict[int, tuple[int, socket.socket]] = {}
    while True:
        watched: list[Any] = [requests, *born]
        ready, _, _ = select.select(watched, [], [])
        for ended in [one for one in ready if one in born]:
            pid, telling = born.pop(ended)
            os.close(ended)
            _tell(telling, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            telling.close()
        if requests not in ready:
            continue
        text, received, _, _ = socket.recv_fds(requests, LARGEST_REQUEST, 2)
        if not text:
            os._exit(0)
        output, told = received
        telling = socket.socket(fileno=told)
        pid = os.fork()
        if pid == 0:
            for one in (requests, telling, *(other for _, other in born.values())):
                one.close()
            for descriptor in born:
                os.close(descriptor)
            request: list[Any] = json.loads(text)
            _become(output, *request[2:])
            return request
        os.close(output)
        born[os.pidfd_open(pid)] = pid, telling
        _tell(telling, pid)


def _tell(telling: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody asks any more
        telling.sendall(NUMBER.pack(number))


def _become(output: int, environment: dict[str, str], cwd: str) -> None:
    """Take on a session, an output, an environment and a directory, as a new program has them."""
    os.setsid()
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    os.chdir(cwd)
    ours = _places(os.environ.get("PYTHONPATH", ""))
    os.environ.clear()
    os.environ.update(environment)
    theirs = _places(environment.get("PYTHONPATH", ""))
    sys.path[:] = [cwd, *theirs, *(place for place in sys.path[1:] if place not in ours)]
    importlib.invalidate_caches()
    tempfile.tempdir = None
    time.tzset()
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True)


def _places(path: str) -> list[str]:
    return [place for place in path.split(os.pathsep) if place]


def main() -> None:
    """Import, serve, and in each fork run what was asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the session's to deal with
    requests = socket.socket(fileno=int(sys.argv[1]))
    for preloaded in PRELOADED:
        importlib.import_module(preloaded)
    module, arguments, *_ = serve(requests)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
