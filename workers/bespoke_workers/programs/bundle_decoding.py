"""A bundle's lines as versions, or the line and the reason for which it is refused."""

import hashlib
from collections.abc import Iterator
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from bespoke_workers.errors import Refused
from bespoke_workers.programs.bundle_format import VERSION, Entry, Header, Trailer, in_use_by
from bespoke_workers.programs.renaming import Renaming
from bespoke_workers.programs.state import clean_state

ModelT = TypeVar("ModelT", bound=BaseModel)


class Decoder:
    """Turns a bundle's lines into entries and refuses whatever is not as it must be.

    ``lines`` yields whole lines. An entry's state has gone through the whitelist, its users
    through ``renaming``. ``read_bytes`` is how much was read, ``count`` how many entries the
    header promises, ``sha256`` the checksum once the end was reached. Errors are Refused and name
    the line and the reason, never what is in it. The checksum is checked after the last entry was
    yielded: nothing may be kept of the entries before the iteration has ended.
    """

    def __init__(self, lines: Iterator[bytes], renaming: Renaming | None = None) -> None:
        self._lines = lines
        self._renaming = renaming or Renaming()
        self._digest = hashlib.sha256()
        self._number = 0
        self._ids: set[UUID] = set()
        self._owners: set[tuple[str | None, str]] = set()
        self.sha256 = ""
        self.read_bytes = 0
        self.count = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries, then check the trailer."""
        self.count = count = self._header()
        for done in range(count):
            line = self._next(f"it ends after {done} of {count} versions")
            entry = self._parsed(Entry, line)
            self._check_unique(entry)
            self._check_use(entry)
            yield self._cleaned(entry)
        self._trailer(count)

    def _header(self) -> int:
        header = self._parsed(Header, self._next("it is empty"))
        if header.version > VERSION:
            raise self._refused(
                f"format version {header.version} is newer than {VERSION}; update the workers"
            )
        if header.version < 1:
            raise self._refused(f"format version {header.version}, expected {VERSION}")
        return header.count

    def _trailer(self, count: int) -> None:
        expected = self._digest.hexdigest()
        trailer = self._parsed(Trailer, self._next("its trailer is missing"))
        if trailer.count != count:
            raise self._refused(f"count is {trailer.count}, the header's is {count}")
        if trailer.sha256 != expected:
            raise self._refused("the checksum differs: the bundle was altered; export it anew")
        if next(self._lines, None) is not None:
            self._number += 1
            raise self._refused("there is more after the trailer")
        self.sha256 = expected

    def _cleaned(self, entry: Entry) -> Entry:
        kept = entry.as_stored()
        try:
            state = clean_state(entry.program_data)
        except Refused as error:
            raise self._refused(f"program_data: {error}") from None
        try:
            renamed = self._renaming.of(kept)
        except ValueError as error:
            raise self._refused(str(error)) from None
        return renamed.model_copy(update={"program_data": state})

    def _check_unique(self, entry: Entry) -> None:
        if entry.program_id in self._ids:
            raise self._refused(f"program_id {entry.program_id} occurs twice")
        self._ids.add(entry.program_id)

    def _check_use(self, entry: Entry) -> None:
        """Refuse what could not be in use, and two versions in use where one can be."""
        if entry.checkpoint is not None and (entry.active or entry.used_by):
            raise self._refused("a checkpoint that is in use")
        if entry.user_id is not None and entry.used_by:
            raise self._refused("a user's own version that others have in use")
        for user_id in in_use_by(entry):
            if (user_id, entry.program) in self._owners:
                raise self._refused("a second active version of the same user and program")
            self._owners.add((user_id, entry.program))

    def _next(self, missing: str) -> bytes:
        line = next(self._lines, None)
        self._number += 1
        if line is None:
            raise self._refused(f"it is truncated: {missing}; export it anew")
        self.read_bytes += len(line)
        self._digest.update(line)
        return line

    def _parsed(self, model: type[ModelT], line: bytes) -> ModelT:
        try:
            return model.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        if first["type"] == "extra_forbidden":
            raise self._refused(f"a key that format {VERSION} does not have")
        place = first["loc"][0] if first["loc"] else model.__name__.lower()
        raise self._refused(f"{place}: {first['msg'][:200]}")

    def _refused(self, reason: str) -> Refused:
        return Refused(f"bundle, line {self._number}: {reason}")
