"""What a bundle of versions looks like, line by line. Knows neither files nor the database.

Line 1 is the header, then one line for each version, then a trailer with the number of the
versions and the SHA-256 of all lines before it. Each line is a JSON document and ends in a
newline; the whole is compressed with gzip.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bespoke_schemas.fields import STATE_LIMIT, Moment, Name, State, Tags, Text, UserId, storable
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.programs.state import SIGNATURE_LIMIT, clean_state

FORMAT: Final = "bespoke-programs"
VERSION: Final = 1
LINE_LIMIT = 4 * STATE_LIMIT + 2**21
"""Bytes of one line: a state of the longest, each character four bytes, and what is beside it."""
COUNT_LIMIT = 1_000_000
"""Versions of one bundle."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class _Line(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


class Header(_Line):
    """The first line; what a newer format adds to it must not hide that it is newer."""

    model_config = ConfigDict(extra="ignore")

    format: Literal["bespoke-programs"] = FORMAT
    version: int = VERSION
    count: int = Field(ge=0, le=COUNT_LIMIT)
    created_at: Moment = Field(default_factory=lambda: datetime.now(UTC))


class Entry(_Line):
    """One version; ``program_data`` is its state, ``active`` whether its owner had it in use."""

    program_id: UUID
    user_id: UserId | None
    program: Name
    saved_at: Moment
    program_data: State
    optimization_result: State
    metadata: State
    signature: Annotated[str, Field(max_length=SIGNATURE_LIMIT), AfterValidator(storable)]
    fingerprint: Text
    optimizer: Name | None
    score: float | None
    tags: Tags
    description: Text
    parent_id: UUID | None
    active: bool = False

    @classmethod
    def of(cls, row: ProgramVersion, *, active: bool) -> "Entry":
        """Return the entry of a version that the database holds; nothing in it is checked."""
        return cls.model_construct(
            program_id=row.id,
            user_id=row.user_id,
            program=row.program,
            saved_at=row.saved_at,
            program_data=row.state,
            optimization_result=row.optimization_result,
            metadata=row.meta,
            signature=row.signature,
            fingerprint=row.fingerprint,
            optimizer=row.optimizer,
            score=row.score,
            tags=tuple(row.tags),
            description=row.description,
            parent_id=row.parent_id,
            active=active,
        )


class Trailer(_Line):
    """The last line."""

    sha256: str
    count: int


class Encoder:
    """Turns entries into a bundle's lines and keeps their checksum."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0

    def header(self, count: int) -> bytes:
        """Return the first line."""
        return self._line(Header(count=count))

    def entry(self, entry: Entry) -> bytes:
        """Return an entry's line."""
        self._count += 1
        return self._line(entry)

    def trailer(self) -> bytes:
        """Return the last line."""
        return self._line(Trailer(sha256=self._digest.hexdigest(), count=self._count))

    def _line(self, model: BaseModel) -> bytes:
        line = model.model_dump_json().encode() + b"\n"
        self._digest.update(line)
        return line


class Decoder:
    """Turns a bundle's lines into entries and refuses whatever is not as it must be.

    ``lines`` yields whole lines. An entry's state has gone through the whitelist. ``read_bytes``
    is how much was read, ``sha256`` the checksum once the end was reached. Errors are Refused
    and name the line and the reason, never what is in it. The checksum is checked after the
    last entry was yielded: nothing may be kept of the entries before the iteration has ended.
    """

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._digest = hashlib.sha256()
        self._number = 0
        self._ids: set[UUID] = set()
        self._owners: set[tuple[str | None, str]] = set()
        self.sha256 = ""
        self.read_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries, then check the trailer."""
        count = self._header()
        for done in range(count):
            line = self._next(f"it ends after {done} of {count} versions")
            entry = self._parsed(Entry, line)
            self._check_unique(entry)
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
        try:
            return entry.model_copy(update={"program_data": clean_state(entry.program_data)})
        except Refused as error:
            raise self._refused(f"program_data: {error}") from None

    def _check_unique(self, entry: Entry) -> None:
        if entry.program_id in self._ids:
            raise self._refused(f"program_id {entry.program_id} occurs twice")
        self._ids.add(entry.program_id)
        owner = (entry.user_id, entry.program)
        if entry.active and owner in self._owners:
            raise self._refused("a second active version of the same user and program")
        if entry.active:
            self._owners.add(owner)

    def _next(self, missing: str) -> bytes:
        line = next(self._lines, None)
        if line is None:
            raise Refused(f"the bundle is truncated: {missing}; export it anew")
        self._number += 1
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
