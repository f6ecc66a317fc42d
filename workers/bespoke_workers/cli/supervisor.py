"""The processes of `bespoke up`: started, started again when they die, stopped together."""

import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bespoke_workers.local.child import Child

REVIVE_SECONDS = 2.0
"""A process that dies at once again is not started more often than this."""


@dataclass
class _Process:
    child: Child
    command: list[str]
    log: Path
    started_at: float


class Supervisor:
    """Runs `bespoke` commands as processes, each with a log under ``home/log/<name>``."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._processes: dict[str, _Process] = {}

    def start(self, name: str, *arguments: str) -> None:
        """Start ``bespoke ARGUMENTS`` under a name."""
        directory = self._home / "log" / name
        directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bespoke_workers.cli", *arguments]
        child = Child(name, directory, signal.SIGTERM, signal.SIGQUIT)
        child.claim()
        self._processes[name] = _Process(child, command, directory / "server.log", 0.0)
        self._spawn(self._processes[name])

    def dead(self) -> list[str]:
        """Return the names of the processes that have ended."""
        return [name for name, process in self._processes.items() if process.child.pid is None]

    def why(self, name: str) -> str:
        """Return the last line of a process's log."""
        lines = self._processes[name].log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"

    def revive(self) -> list[str]:
        """Start again what has ended; returns the names."""
        revived = []
        for name in self.dead():
            process = self._processes[name]
            if time.monotonic() - process.started_at > REVIVE_SECONDS:
                process.child.kill()
                process.child.claim()
                self._spawn(process)
                revived.append(name)
        return revived

    def stop(self) -> None:
        """Stop all processes in order, side by side, by force where that takes too long."""
        children = [process.child for process in self._processes.values()]
        if children:
            with ThreadPoolExecutor(len(children)) as pool:
                list(pool.map(Child.stop, children))
        self._processes.clear()

    def _spawn(self, process: _Process) -> None:
        process.started_at = time.monotonic()
        process.child.spawn(process.command, environment=None, directory=Path.cwd())
