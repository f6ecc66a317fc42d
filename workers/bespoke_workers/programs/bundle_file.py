"""A bundle as a file in the storage: written under a temporary name, read with limits.

Everything here blocks and is called in threads.
"""

import contextlib
import gzip
import hashlib
import os
import zlib
from collections.abc import Generator, Iterable
from typing import IO, Any

from bespoke_workers.errors import Refused
from bespoke_workers.programs.bundle_format import LINE_LIMIT
from bespoke_workers.programs.storage import Place, Storage, translated

COMPRESSION = 6  # of 9; beyond it the time doubles for a few per cent
TOTAL_LIMIT = 2**30
"""Bytes of one bundle, uncompressed: what a job of two minutes can read and check."""


class Writer:
    """Writes lines to a file that has its name only when it is whole.

    ``token`` makes the temporary name, the same one for each delivery of a job, so that what a
    killed delivery left is overwritten by the next.
    """

    def __init__(self, storage: Storage, place: Place, token: str) -> None:
        self._files = storage.files
        self._place = place
        self._part = f"{place.path}.{token}.part"
        self._raw: Any = None
        self._gzip: gzip.GzipFile | None = None
        self._sink: _Sink | None = None
        self._total = 0

    def open(self) -> None:
        """Begin the file."""
        with translated(self._place):
            self._files.makedirs(self._part.rpartition("/")[0], exist_ok=True)
            self._raw = self._files.open(self._part, "wb")
            self._sink = _Sink(self._raw)
            self._gzip = gzip.GzipFile(
                filename="", mode="wb", compresslevel=COMPRESSION, fileobj=self._sink, mtime=0
            )

    def write(self, lines: Iterable[bytes]) -> None:
        """Append lines; raises Refused if the bundle becomes larger than an import takes."""
        assert self._gzip is not None
        with translated(self._place):
            for line in lines:
                self._total += len(line)
                if self._total > TOTAL_LIMIT:
                    raise Refused(_too_large("export fewer programs at a time"))
                self._gzip.write(line)

    def finish(self) -> tuple[int, str]:
        """Give the file its name; return its size in bytes and its SHA-256."""
        assert self._gzip is not None
        assert self._sink is not None
        with translated(self._place):
            self._gzip.close()
            self._raw.flush()
            descriptor = _descriptor(self._raw)
            if descriptor is not None:
                # After a loss of power, the name must not be there without the contents.
                os.fsync(descriptor)
            self._raw.close()
            self._files.mv(self._part, self._place.path)
        return self._sink.size, self._sink.digest.hexdigest()

    def abort(self) -> None:
        """Remove what was written; a failure to do so is of no consequence."""
        for file in (self._gzip, self._raw):
            with contextlib.suppress(Exception):
                if file is not None:
                    file.close()
        with contextlib.suppress(Exception):
            self._files.rm_file(self._part)


def read_lines(storage: Storage, place: Place) -> Generator[bytes, None, None]:
    """Yield the lines of a bundle, each whole and with its newline.

    Raises Refused, with the line's number, where it is no gzip, is cut off, or holds a line or
    a total beyond what a bundle may hold; never reads more than that into memory.
    """
    number, total = 1, 0
    with translated(place), storage.files.open(place.path, "rb") as raw:
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as lines:
                while line := lines.readline(LINE_LIMIT + 1):
                    total += len(line)
                    _check_line(line, number, total)
                    yield line
                    number += 1
        except EOFError:
            raise Refused(f"bundle, line {number}: the file is cut off; export it anew") from None
        except (gzip.BadGzipFile, zlib.error):
            raise Refused(
                f"bundle, line {number}: not gzip, or damaged; give a file that an export wrote"
            ) from None


def _check_line(line: bytes, number: int, total: int) -> None:
    if len(line) > LINE_LIMIT:
        raise Refused(f"bundle, line {number}: longer than {LINE_LIMIT} bytes")
    if total > TOTAL_LIMIT:
        raise Refused(f"bundle, line {number}: {_too_large('split it')}")
    if not line.endswith(b"\n"):
        raise Refused(f"bundle, line {number}: it ends in the middle; export it anew")


def _descriptor(file: Any) -> int | None:
    """Return the descriptor of a local file; None for one that lies elsewhere."""
    try:
        return int(file.fileno())
    except (AttributeError, OSError):
        return None


def _too_large(advice: str) -> str:
    return f"the bundle is larger than {TOTAL_LIMIT // 2**20} MiB uncompressed; {advice}"


class _Sink:
    """Passes bytes on to a file and keeps their number and SHA-256."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> int:
        self._target.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)
        return len(chunk)

    def flush(self) -> None:
        """Nothing to do: the file is flushed as a whole."""
