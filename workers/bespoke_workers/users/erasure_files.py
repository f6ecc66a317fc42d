"""Erasing under the storage URL: files of a user, and a user's lines in files of several.

Every file is looked into, since its name may be anybody's choice, and the record of the job that
wrote it may be older than such records are kept.
"""

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from bespoke_workers.database.engine import Database
from bespoke_workers.database.file_locks import hold_file
from bespoke_workers.memories.records import is_compressed
from bespoke_workers.observe import events
from bespoke_workers.programs.bundle_format import FORMAT as OF_PROGRAMS
from bespoke_workers.programs.bundles import BUNDLE
from bespoke_workers.storage.failures import translated
from bespoke_workers.storage.files import Writer, named_in_the_end
from bespoke_workers.storage.offload import in_thread
from bespoke_workers.storage.places import Place, Storage
from bespoke_workers.users.bundle_format import FORMAT as OF_A_USER
from bespoke_workers.users.naming import GONE, quoted, without

GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True)
class Look:
    """What is in a file: lines of the user, lines of others, and whether it could be read."""

    theirs: int = 0
    others: int = 0
    is_whole: bool = True
    is_read: bool = True


class Files:
    """The files under the storage URL in which an erased user may be."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        user_id: str,
        owners: Sequence[str],
        token: UUID,
    ) -> None:
        """``token`` makes temporary names, the same ones for each delivery of the job."""
        self._database = database
        self._storage = storage
        self._whose = (user_id, *owners)
        self._token = str(token)
        self._forms = [form.encode() for one in self._whose for form in quoted(one)]
        self._folders = {events.hashed(one) for one in self._whose}

    async def names(self) -> list[str]:
        """Return the names of all files there are by now."""
        with translated(self._storage.place("storage").url, "storage"):
            return await in_thread(self._storage.names)

    async def clear(
        self, names: Sequence[str], is_over: Callable[[], bool] = lambda: False
    ) -> tuple[int, Counter[str]]:
        """Erase the user in these files until the time is over, in one of them at least.

        Returns in how many of them, and counts of what was done.
        """
        found: Counter[str] = Counter()
        for done, name in enumerate(names, start=1):
            found += await self._clear_one(name)
            if is_over():  # a large file takes as long as many small ones
                return done, found
        return len(names), found

    async def _clear_one(self, name: str) -> Counter[str]:
        if not self._folders.isdisjoint(name.split("/")[:-1]):
            await in_thread(self._remove, name)
            return Counter(files=1)
        look = await in_thread(self._looked_into, name)
        if not look.theirs:
            return Counter(unread_files=int(not look.is_read))
        # An erasure of another user that reads the file now would bring this one's lines back, and
        # what an export replaces it with would be lost.
        async with self._database.transaction() as session:
            path = named_in_the_end(self._place(name).path)
            await hold_file(await session.connection(), path)
            return await in_thread(self._clear_held, name)

    def _clear_held(self, name: str) -> Counter[str]:
        look, place = self._looked_into(name), self._place(name)
        if not look.theirs:
            return Counter(unread_files=int(not look.is_read))
        if not look.others or not look.is_whole:
            with translated(place.url, "file"):
                self._storage.remove(name)
                return Counter(files=1)
        self._rewrite(place, look.others)
        return Counter(files_rewritten=1, lines_of_files=look.theirs)

    def _looked_into(self, name: str) -> Look:
        place = self._place(name)
        with translated(place.url, "file"):
            try:
                return self._look(place)
            except FileNotFoundError:
                return Look()

    def _remove(self, name: str) -> None:
        with translated(self._place(name).url, "file"):
            self._storage.remove(name)

    def _place(self, name: str) -> Place:
        # As the storage lists it: a name that others gave need not be one that we would give.
        root = self._storage.place("x")
        return Place(root.url[:-1] + name, root.path[:-1] + name)

    def _look(self, place: Place) -> Look:
        theirs = others = 0
        is_ours = False
        try:
            with closing(self._lines(place)) as lines:
                for number, line in enumerate(lines, start=1):
                    if number == 1:
                        header = _object(line)
                        is_ours = header is not None
                        if _is_header(header):
                            if header is not None and header.get("user_id") in self._whose:
                                return Look(theirs=1)
                            continue
                    left = self._left_of(line)
                    theirs += left != line
                    others += left is not None and not _is_trailer(line)
                    if not is_ours and theirs == 0 and number >= FOREIGN_LINES:
                        break
        except (EOFError, zlib.error, gzip.BadGzipFile, ValueError):
            # What is left of a file that was being written, or was damaged, is of no use.
            return Look(theirs, others, is_whole=False, is_read=False)
        return Look(theirs, others, is_read=is_ours)

    def _lines(self, place: Place) -> Generator[bytes, None, None]:
        with self._storage.files.open(place.path, "rb") as raw:
            magic = raw.read(len(GZIP))
            raw.seek(0)
            lines: Any = gzip.GzipFile(fileobj=raw, mode="rb") if magic == GZIP else raw
            while line := lines.readline(BUNDLE.line_limit + 1):
                yield line

    def _left_of(self, line: bytes) -> bytes | None:
        """Return what is left of a line without the user; None if it is the user's own."""
        if not any(form in line for form in self._forms):
            return line
        entry = _object(line)
        if entry is None:
            return line
        left: Any = entry
        for one in self._whose:
            left = without(left, one)
            if left is GONE:
                return None
        return line if left == entry else _line(left)

    def _rewrite(self, place: Place, left: int) -> None:
        """Write the file anew without the user's lines, under its name once it is whole."""
        compressed = is_compressed(place)
        writer = Writer(BUNDLE, self._storage, place, self._token, compressed=compressed)
        try:
            writer.open()
            with closing(self._lines(place)) as lines:
                writer.write(_bundle(self._kept(lines), left))
            writer.finish()
        except BaseException:
            writer.abort()
            raise

    def _kept(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        return (left for line in lines if (left := self._left_of(line)) is not None)


FOREIGN_LINES: Final = 1_000
"""Lines of a file that is none of ours after which it is left alone."""


def _bundle(lines: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Yield the lines of a file, those of a bundle with its count and checksum made anew."""
    digest = hashlib.sha256()
    is_bundle = False
    for number, line in enumerate(lines, start=1):
        header = _object(line) if number == 1 else None
        if _is_header(header):
            is_bundle = True
            line = _line({**(header or {}), "count": count})  # noqa: PLW2901  # it is replaced
        if is_bundle and _is_trailer(line):
            line = _line({"sha256": digest.hexdigest(), "count": count})  # noqa: PLW2901
        digest.update(line)
        yield line


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_header(value: dict[str, Any] | None) -> bool:
    return value is not None and value.get("format") in {OF_PROGRAMS, OF_A_USER}


def _is_trailer(line: bytes) -> bool:
    if b'"sha256"' not in line[:200]:
        return False
    return set(_object(line) or ()) == {"sha256", "count"}
