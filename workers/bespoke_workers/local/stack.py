"""PostgreSQL and Redis together, and the file by which others on the machine find them."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bespoke_workers.errors import Misconfigured
from bespoke_workers.local.claim import Claim
from bespoke_workers.local.directory import own_directory, write_private
from bespoke_workers.local.postgres import LocalPostgres
from bespoke_workers.local.redis import LocalRedis

ADDRESS_FILE = "stack.json"


@dataclass(frozen=True)
class StackAddress:
    """Where a running stack is; the URLs hold its passwords, so they are not shown."""

    broker_url: str = field(repr=False)
    database_url: str = field(repr=False)
    pid: int


class Stack:
    """Both servers under `home`, in `home/postgres` and `home/redis`; one stack for one home.

    While it runs, `home/stack.json` (mode 0600) holds `broker_url`, `database_url` and the `pid` of
    the process that runs it. As a context manager it starts silently and stops.
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self._home = home.expanduser().resolve()
        self._claim = Claim(self._home, "a local stack")
        self.postgres = LocalPostgres(self._home / "postgres", durable=durable)
        self.redis = LocalRedis(self._home / "redis")

    @property
    def address(self) -> StackAddress:
        """Where the servers are; raises Misconfigured before the first start."""
        return StackAddress(self.redis.url, self.postgres.url, os.getpid())

    def start(self, progress: Callable[[str], None] = lambda line: None) -> None:
        """Start both, telling `progress` of each step in one line.

        Raises Misconfigured, with nothing left running; in particular if another process runs a
        stack in the same home.
        """
        own_directory(self._home)
        self._claim.take()
        try:
            self._start_servers(progress)
        except BaseException:
            self.stop()
            raise

    def revive(self) -> list[str]:
        """Start a server again that has ended by itself, such as for want of memory.

        Returns the names of those; the URLs are the same. Raises Misconfigured where one cannot be
        started.
        """
        revived = []
        if self.postgres.pid is None:
            self.postgres.start()
            revived.append("PostgreSQL")
        if self.redis.pid is None:
            before = self.redis.url
            self.redis.start()
            if self.redis.url != before:
                raise Misconfigured(
                    "Redis ended, and another program has taken its port: start the stack again"
                )
            revived.append("Redis")
        return revived

    def stop(self) -> None:
        """Stop both; their data stays. Does nothing if they do not run."""
        if self._claim.held:  # else the file is another process's
            (self._home / ADDRESS_FILE).unlink(missing_ok=True)
        try:
            self.redis.stop()
        finally:
            self.postgres.stop()
            self._claim.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_servers(self, progress: Callable[[str], None]) -> None:
        if self.postgres.is_new:
            progress("creating the PostgreSQL data directory (once)")
        else:
            progress("starting PostgreSQL")
        self.postgres.start()
        progress("starting Redis")
        self.redis.start()
        address = {
            "broker_url": self.redis.url,
            "database_url": self.postgres.url,
            "pid": os.getpid(),
        }
        write_private(self._home / ADDRESS_FILE, json.dumps(address))


def read_stack(home: Path) -> StackAddress | None:
    """The stack that runs in `home`, None if there is none, or its process died."""
    path = home.expanduser() / ADDRESS_FILE
    try:
        address = StackAddress(**json.loads(path.read_text()))
        started = psutil.Process(address.pid).create_time()
        # A process younger than the file has merely been given the old one's number.
        return address if started <= path.stat().st_mtime + 1 else None
    except (OSError, ValueError, TypeError, psutil.NoSuchProcess):
        return None
