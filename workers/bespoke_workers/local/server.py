"""What both local servers share: one child process in one directory, started and stopped."""

import signal
from abc import ABC, abstractmethod
from pathlib import Path

from bespoke_workers.local.child import Child
from bespoke_workers.local.directory import own_directory


class LocalServer(ABC):
    """One server whose data lives in a directory of this account's own."""

    def __init__(
        self, name: str, directory: Path, gentle: signal.Signals, firm: signal.Signals
    ) -> None:
        self._directory = directory.expanduser().resolve()
        self._child = Child(name, self._directory, gentle, firm)

    @property
    def pid(self) -> int | None:
        """Process id of the server's main process, None when it does not run."""
        return self._child.pid

    def start(self) -> None:
        """Start the server and wait until it takes connections; does nothing if it runs."""
        if self.pid is not None:
            return
        self._child.kill()  # a server that has died by itself still has its leash and lock
        own_directory(self._directory)
        self._child.claim()
        try:
            self._launch()
        except BaseException:
            self._child.kill()
            raise

    def stop(self) -> None:
        """Shut down in order, within 20 seconds: what was accepted is on disk afterwards."""
        self._child.stop()

    def kill(self) -> None:
        """Kill every process of the server with SIGKILL; the next start recovers its data."""
        self._child.kill()

    def restart(self) -> None:
        """Stop and start, under the same URL."""
        self.stop()
        self.start()

    @abstractmethod
    def _launch(self) -> None:
        """Spawn the server and wait until it is ready; the directory is claimed."""
