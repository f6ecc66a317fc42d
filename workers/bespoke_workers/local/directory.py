"""Directories that hold data and passwords: ours, and closed to others."""

import os
from pathlib import Path

from bespoke_workers.errors import Misconfigured


def own_directory(path: Path, uid: int | None = None) -> None:
    """Make `path` with mode 0700, or accept one that is ours (or belongs to `uid`) already.

    Raises Misconfigured if it cannot be made or written, or is somebody else's.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise Misconfigured(
            f"{str(path)!r} cannot be used ({error.strerror}):"
            " set BESPOKE_HOME to a directory that you may write"
        ) from None
    if found.st_uid not in {os.geteuid(), uid} or not os.access(path, os.W_OK | os.X_OK):
        raise Misconfigured(
            f"{str(path)!r} cannot be used (it belongs to user {found.st_uid} or is read-only):"
            " set BESPOKE_HOME to a directory that you may write"
        )


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, with mode 0600, so that a reader never sees half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
