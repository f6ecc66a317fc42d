"""A server object, such as a local Redis, seen as a container by pytest-celery."""

from typing import Protocol


class Server(Protocol):
    """What a node needs of a server; `start` does nothing if it runs, and waits until ready."""

    @property
    def pid(self) -> int | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class ServerContainer:
    """One logical database of a server, which other nodes and tests may share."""

    def __init__(self, server: Server, url: str, name: str = "redis") -> None:
        self.name = self.id = name
        self._server = server
        self._url = url

    @property
    def celeryconfig(self) -> dict[str, str]:
        """The URL, the same for workers and for the test: both are on this machine."""
        return {"url": self._url, "host_url": self._url}

    @property
    def status(self) -> str:
        """`running` or `exited`, in Docker's words."""
        return "exited" if self._server.pid is None else "running"

    def ready(self) -> bool:
        """Start the server if it is down, and wait until it answers."""
        self._server.start()
        return True

    def logs(self) -> str:
        """Nothing: the server keeps its own log."""
        return ""

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """SIGKILL, or an orderly stop for any other signal; ended when this returns."""
        if signal in {"SIGKILL", 9}:
            self._server.kill()
        else:
            self._server.stop()

    def restart(self, timeout: float = 0) -> None:
        """Stop in order, if it runs, and start again."""
        self._server.stop()
        self._server.start()

    def reload(self) -> None:
        """Nothing to do: `status` is always fresh."""

    def teardown(self) -> None:
        """Leave the server running for the next test; whoever made it stops it."""
        self._server.start()
