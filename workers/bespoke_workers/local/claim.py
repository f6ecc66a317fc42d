"""One owner at a time for a directory, given up by the kernel however the owner ends."""

import fcntl
import os
from pathlib import Path

from bespoke_workers.errors import Misconfigured


class Claim:
    """A lock on `directory`, held by this process from `take` to `release`."""

    def __init__(self, directory: Path, what: str) -> None:
        """`what` names in an error text that which the directory holds."""
        self._path = directory / "lock"
        self._what = what
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process has it, by this object."""
        return self._descriptor is not None

    def take(self) -> None:
        """Take the lock; raises Misconfigured with the owner's process id if another has it."""
        if self.held:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode().strip()
            os.close(descriptor)
            raise Misconfigured(
                f"{self._what} in {str(self._path.parent)!r} is already run by process {owner}:"
                " stop that one, or set BESPOKE_HOME to another directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up; the file stays, since removing it would let two owners in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
