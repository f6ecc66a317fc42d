"""Where an import's records come from: checked as a whole first, then read page by page."""

import contextlib
import hashlib
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import dataclass
from itertools import islice

from bespoke_schemas.memories import Import, Record
from bespoke_workers.memories.records import RECORDS, is_compressed, line_of, parsed
from bespoke_workers.storage.files import read_lines
from bespoke_workers.storage.offload import in_thread
from bespoke_workers.storage.places import Storage

PAGE_RECORDS = 500
PAGE_BYTES = 2**21
"""A page has as many records, or bytes: what is embedded in one call and written at once."""
STEP_RECORDS, STEP_BYTES = 5_000, 2**22
"""What a thread reads before the loop is asked whether the job still goes on."""


@dataclass(frozen=True)
class Fingerprint:
    """The SHA-256 of all lines, and their number."""

    sha256: str
    total: int


class RecordSource:
    """The records of one import: those in its payload, or the lines of a file."""

    def __init__(self, storage: Storage, payload: Import) -> None:
        self._payload = payload
        self._storage = storage
        self._place = None if payload.source is None else storage.place(payload.source)

    async def checked(self) -> Fingerprint:
        """Read every record; raises Refused, naming the line, if anything is not as it must be."""
        return await self._read(check=True)

    async def fingerprint(self) -> Fingerprint:
        """Read every line as it is."""
        return await self._read(check=False)

    async def pages(self, done: int) -> AsyncGenerator[list[Record], None]:
        """Yield the records after the first ``done``, in pages; if there are none, one empty."""
        with contextlib.closing(self._lines()) as lines:
            await in_thread(_skip, lines, done)
            page = await in_thread(_take, lines, PAGE_RECORDS, PAGE_BYTES)
            while True:
                yield [self._parsed(line, done + place) for place, line in enumerate(page, 1)]
                done += len(page)
                page = await in_thread(_take, lines, PAGE_RECORDS, PAGE_BYTES)
                if not page:
                    return

    async def _read(self, *, check: bool) -> Fingerprint:
        digest, total = hashlib.sha256(), 0
        with contextlib.closing(self._lines()) as lines:
            while some := await in_thread(_take, lines, STEP_RECORDS, STEP_BYTES):
                for line in some:
                    total += 1
                    digest.update(line)
                    if check:
                        self._parsed(line, total)
        return Fingerprint(digest.hexdigest(), total)

    def _lines(self) -> Generator[bytes, None, None]:
        if self._place is None:
            yield from map(line_of, self._payload.records or ())
        else:
            compressed = is_compressed(self._place)
            yield from read_lines(RECORDS, self._storage, self._place, compressed=compressed)

    def _parsed(self, line: bytes, number: int) -> Record:
        user_id, rename_user = self._payload.user_id, self._payload.rename_user
        return parsed(line, number, user_id, rename_user=rename_user)


def _skip(lines: Iterator[bytes], count: int) -> None:
    for _ in islice(lines, count):
        pass


def _take(lines: Iterator[bytes], most: int, most_bytes: int) -> list[bytes]:
    page, size = [], 0
    for line in islice(lines, most):
        page.append(line)
        size += len(line)
        if size >= most_bytes:
            break
    return page
