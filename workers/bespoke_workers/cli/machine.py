"""Servers and worker processes of one machine, started and stopped together."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Self

import click

from bespoke_workers.cli.supervisor import Supervisor
from bespoke_workers.errors import Misconfigured
from bespoke_workers.local import Stack
from bespoke_workers.local.redis import is_free
from bespoke_workers.settings import Settings

READY_SECONDS = 60.0
LOOK_SECONDS = 0.5
SHORT_QUEUES = "reads,programs,optimization,upkeep"


def _tell(line: str) -> None:
    click.echo(f"bespoke: {line}", err=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore the signals that ask for an end; what is going on here is the end."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    earlier = [signal.signal(number, signal.SIG_IGN) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, earlier, strict=True):
            signal.signal(number, handler)


class Machine:
    """The servers and the processes of one machine; as a context manager it stops them all."""

    def __init__(self, config: Settings, tell: Callable[[str], None] = _tell) -> None:
        self.config = config
        self._tell = tell
        self._stack = self._servers(config)
        self._supervisor = Supervisor(config.home)

    def __enter__(self) -> Self:
        """Start the servers and migrate the database."""
        try:
            if self._stack is not None:
                self._stack.start(self._tell)
            self._migrate()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the processes, then the servers. A second Ctrl-C does not interrupt that."""
        with _uninterrupted():
            self._tell("stopping")
            self._supervisor.stop()
            if self._stack is not None:
                self._stack.stop()

    def start_processes(self, concurrency: int, runs: int, *, flower: bool, beat: bool) -> None:
        """Start workers, beat and Flower, and wait until the workers answer."""
        port = self.config.flower_port
        if flower and not is_free(port):  # it would die and be started again for ever
            raise Misconfigured(
                f"BESPOKE_FLOWER_PORT: {port} is taken by another program; set it to another "
                "port, or give --no-flower"
            )
        start = self._supervisor.start
        self._tell("starting workers")
        memories = [f"memories-{number}" for number in range(1, concurrency + 1)]
        for name in memories:
            start(name, "worker", f"-n{name}", "-qmemories", "-Psolo", "-c1")
        short = [f"-q{SHORT_QUEUES}", "-xoptimization.runs", f"-c{concurrency}"]
        start("short", "worker", "-nshort", *short)
        start(
            "runs", "worker", "-nruns", "-qoptimization.runs,exports", f"-c{runs}", "--prefetch=1"
        )
        names = {*memories, "short", "runs"}
        if self.config.finetune_provider is not None:
            tuning = ["-qfinetuning", f"-c{runs}", "--prefetch=1"]
            start("finetuning", "worker", "-nfinetuning", *tuning)
            names.add("finetuning")
        if beat:
            start("beat", "beat")
        self._await_workers(names)
        if flower:  # after the workers: it asks them once what they can do
            start("flower", "flower")
        where = f"; Flower at http://127.0.0.1:{port}" if flower else ""
        self._tell(f"ready{where}; logs in {self.config.home / 'log'}; Ctrl-C stops all")

    def watch(self) -> None:
        """Start again what dies, until interrupted."""
        while True:
            time.sleep(LOOK_SECONDS)
            servers = self._stack.revive() if self._stack is not None else []
            for name in [*servers, *self._supervisor.revive()]:
                self._tell(f"{name} died and was started again; its log tells why")

    def _servers(self, config: Settings) -> Stack | None:
        named = {"DATABASE_URL": config.database_url, "BROKER_URL": config.broker_url}
        missing = [name for name, url in named.items() if url is None]
        if len(missing) == 1:
            raise Misconfigured(
                f"BESPOKE_{missing[0]} is not set while the other one is; set both URLs to use "
                "your servers, or neither to use local ones"
            )
        return Stack(config.home) if missing else None

    def _migrate(self) -> None:
        from bespoke_workers.database import migrate

        self._tell("migrating the database")
        migrate.upgrade(self.config.database())

    def _await_workers(self, names: set[str]) -> None:
        from bespoke_workers.cli.status import look

        deadline = time.monotonic() + READY_SECONDS
        while not ((seen := look(self.config)).ok and names <= seen.names()):
            dead = self._supervisor.dead()
            if dead:
                raise Misconfigured(f"{dead[0]} did not start: {self._supervisor.why(dead[0])}")
            if time.monotonic() > deadline:
                raise Misconfigured(f"workers were not ready in {READY_SECONDS:.0f} s: {seen}")
