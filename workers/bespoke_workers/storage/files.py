"""A file of lines in the storage: there when it is whole and not before, read with limits.

Everything here blocks and is called in threads.
"""

import contextlib
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import IO, Any

from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.storage.failures import translated
from bespoke_workers.storage.places import Place, Storage

COMPRESSION = 6  # of 9; beyond it the time doubles for a few per cent
BLOCK_BYTES = 8 * 2**20
"""What is sent to, or read from, an object store at once; their own 50 MiB are much memory."""
FOLDER_TRIES = 5
"""How often a folder is made: whoever removes the last file in it removes the folder too."""


@dataclass(frozen=True)
class Kind:
    """What files of a kind are called in errors, and how large they may be.

    ``line_limit`` and ``total_limit`` are bytes, uncompressed; ``smaller`` says how to export
    less. A file whose last line has no newline was cut off, unless ``is_by_hand`` allows it.
    """

    noun: str
    line_limit: int
    total_limit: int
    smaller: str
    is_by_hand: bool = False

    def refused(self, number: int, reason: str) -> Refused:
        """Return the error for a line."""
        return Refused(f"{self.noun}, line {number}: {reason}")

    def too_large(self, advice: str) -> str:
        """Say that a file is too large, and what to do."""
        return (
            f"the {self.noun} is larger than {self.total_limit // 2**20} MiB uncompressed; {advice}"
        )

    def check_stored(self, size: int | None) -> None:
        """Raise Refused for a file that is too large already as it lies there.

        Empty parts that gzip skips take time, and come to no line that could be counted.
        """
        if size is not None and size > self.total_limit:
            raise self.refused(1, self.too_large("split it"))

    def check(self, line: bytes, number: int, total: int) -> None:
        """Raise Refused unless a line, the total up to it included, is within the limits."""
        if len(line) > self.line_limit:
            raise self.refused(number, f"longer than {self.line_limit} bytes")
        if total > self.total_limit:
            raise self.refused(number, self.too_large("split it"))
        if not line.endswith(b"\n") and not self.is_by_hand:
            raise self.refused(number, "it ends in the middle; export it anew")


_PART = re.compile(r"\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.part$")


def named_in_the_end(path: str) -> str:
    """Return the path under which a job's file will lie; a path that is no job's part as it is."""
    return _PART.sub("", path)


class Writer:
    """Writes lines to a file that has its name only when it is whole.

    On a file system it has a temporary name until then, made of ``token``: the same one for each
    delivery of a job, so that what a killed delivery left is overwritten by the next. An object
    store shows an upload only once it is complete. What is not ``compressed`` is plain text.
    """

    def __init__(
        self, kind: Kind, storage: Storage, place: Place, token: str, *, compressed: bool = True
    ) -> None:
        self._kind = kind
        self._storage = storage
        self._place = place
        self._compressed = compressed
        self._part = f"{place.path}.{token}.part"
        self._raw: Any = None
        self._lines: gzip.GzipFile | _Sink | None = None
        self._sink: _Sink | None = None
        self._total = 0

    def open(self) -> None:
        """Begin the file."""
        with self._translated():
            self._raw = self._begun()
            self._sink = _Sink(self._raw)
            self._lines = _compressing(self._sink) if self._compressed else self._sink

    def _begun(self) -> Any:
        files = self._storage.files
        if self._storage.is_object_store:
            return files.open(self._place.path, "wb", block_size=BLOCK_BYTES, autocommit=False)
        self._storage.check_within(self._place)
        for _ in range(FOLDER_TRIES):
            with contextlib.suppress(FileNotFoundError):
                files.makedirs(self._part.rpartition("/")[0], exist_ok=True)
                return files.open(self._part, "wb")
        return files.open(self._part, "wb")

    def write(self, lines: Iterable[bytes]) -> None:
        """Append lines; raises Refused if the file becomes larger than an import takes."""
        assert self._lines is not None
        with self._translated():
            for line in lines:
                self._total += len(line)
                if self._total > self._kind.total_limit:
                    raise Refused(self._kind.too_large(self._kind.smaller))
                self._lines.write(line)

    def finish(self) -> tuple[int, str]:
        """Give the file its name; return its size in bytes and its SHA-256."""
        assert self._lines is not None
        assert self._sink is not None
        with self._translated():
            self._lines.close()
            if self._storage.is_object_store:
                self._raw.close()
                self._raw.commit()
            else:
                self._name()
        return self._sink.size, self._sink.digest.hexdigest()

    def _name(self) -> None:
        self._raw.flush()
        descriptor = _descriptor(self._raw)
        if descriptor is not None:
            # After a loss of power, the name must not be there without the contents.
            os.fsync(descriptor)
        self._raw.close()
        self._storage.files.mv(self._part, self._place.path)

    def abort(self) -> None:
        """Remove what was written; a failure to do so is of no consequence."""
        if self._raw is None:
            return
        if self._sink is not None:
            self._sink.end()
        with contextlib.suppress(Exception):
            if self._storage.is_object_store:
                self._raw.discard()
                self._raw.closed = True
                return
        for file in (self._lines, self._raw):
            with contextlib.suppress(Exception):
                if file is not None:
                    file.close()
        with contextlib.suppress(Exception):
            self._storage.files.rm_file(self._part)

    @contextlib.contextmanager
    def _translated(self) -> Generator[None, None, None]:
        with translated(self._place.url, self._kind.noun):
            try:
                yield
            except FileNotFoundError:
                raise Misconfigured(
                    f"BESPOKE_STORAGE_URL: no bucket or folder for {self._place.url!r}; make it, "
                    "or correct the URL"
                ) from None


def read_lines(
    kind: Kind, storage: Storage, place: Place, *, compressed: bool = True
) -> Generator[bytes, None, None]:
    """Yield the lines of a file, each whole and with its newline.

    Raises Refused, with the line's number, where it is no gzip, is cut off, or holds a line or
    a total beyond the limits; never reads more than that into memory.
    """
    number, total = 1, 0
    with translated(place.url, kind.noun), _opened(storage, place) as raw:
        kind.check_stored(getattr(raw, "size", None))
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") if compressed else raw as lines:
                while line := lines.readline(kind.line_limit + 1):
                    total += len(line)
                    kind.check(line, number, total)
                    yield line
                    number += 1
        except EOFError:
            raise kind.refused(number, "the file is cut off; export it anew") from None
        except (gzip.BadGzipFile, zlib.error):
            raise kind.refused(
                number, "not gzip, or damaged; give a file that an export wrote"
            ) from None


def exists(kind: Kind, storage: Storage, place: Place) -> bool:
    """Tell whether anything lies at a place; unlike fsspec's own, it does not hide failures."""
    with translated(place.url, kind.noun):
        storage.check_within(place)
        storage.files.invalidate_cache()
        try:
            storage.files.info(place.path)
        except FileNotFoundError:
            return False
    return True


def _opened(storage: Storage, place: Place) -> Any:
    storage.check_within(place)
    if not storage.is_object_store:
        return storage.files.open(place.path, "rb")
    # Another process may have written it since this one looked.
    storage.files.invalidate_cache()
    return storage.files.open(place.path, "rb", block_size=BLOCK_BYTES, cache_type="readahead")


def _compressing(sink: "_Sink") -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=sink, mtime=0)


def _descriptor(file: Any) -> int | None:
    """Return the descriptor of a local file; None for one that lies elsewhere."""
    try:
        return int(file.fileno())
    except (AttributeError, OSError):
        return None


class _Sink:
    """Passes bytes on to a file and keeps their number and SHA-256."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target: IO[bytes] | None = target
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> int:
        if self._target is None:
            return len(chunk)
        self._target.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)
        return len(chunk)

    def end(self) -> None:
        """Pass nothing on any more: a compressor that is closed still writes its end."""
        self._target = None

    def flush(self) -> None:
        """Nothing to do: the file is flushed as a whole."""

    def close(self) -> None:
        """Nothing to do: whoever opened the file closes it."""
