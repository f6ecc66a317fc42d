"""What a bundle of one user looks like, line by line. Knows neither files nor the database.

Line 1 is the header with the number of entries in each section, then one line for each entry,
section by section, then a trailer with the number of entries and the SHA-256 of all lines before
it. Each line is a JSON document and ends in a newline; the whole is compressed with gzip.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bespoke_schemas.fields import Moment, Name, UserId
from bespoke_workers.errors import Refused
from bespoke_workers.programs.bundle_format import LINE_LIMIT
from bespoke_workers.storage.files import Kind

FORMAT: Final = "bespoke-user"
VERSION: Final = 1
USER_BUNDLE = Kind("user bundle", LINE_LIMIT + 2**10, 2**30, "export its parts by themselves")
"""Its limit is what a job of two minutes can read and check."""
COUNT_LIMIT: Final = 10_000_000

ModelT = TypeVar("ModelT", bound=BaseModel)


class Line(BaseModel):
    """What lines are made of: nothing that the format does not have, no number that is none."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """Show nothing of the contents, whoever prints it."""
        yield from ()


class Header(Line):
    """The first line; what a newer format adds to it must not hide that it is newer."""

    model_config = ConfigDict(extra="ignore")

    format: Literal["bespoke-user"] = FORMAT
    version: int = VERSION
    user_id: UserId
    sections: dict[Name, int] = Field(max_length=100)
    created_at: Moment = Field(default_factory=lambda: datetime.now(UTC))


class Placed(Line):
    """One entry, and the section that it belongs to."""

    section: Name
    entry: dict[str, Any]


class Trailer(Line):
    """The last line."""

    sha256: str
    count: int


class Encoder:
    """Turns entries into a bundle's lines and keeps their checksum."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._count = 0

    def header(self, user_id: str, sections: Mapping[str, int]) -> bytes:
        """Return the first line."""
        header = Header.model_construct(user_id=user_id, sections=dict(sections))
        return self._line(header.model_dump_json())

    def entry(self, section: str, entry: BaseModel) -> bytes:
        """Return an entry's line."""
        self._count += 1
        return self._line(f'{{"section":"{section}","entry":{entry.model_dump_json()}}}')

    def trailer(self) -> bytes:
        """Return the last line."""
        trailer = Trailer(sha256=self._digest.hexdigest(), count=self._count)
        return self._line(trailer.model_dump_json())

    def _line(self, text: str) -> bytes:
        line = text.encode() + b"\n"
        self._digest.update(line)
        return line


class Decoder:
    """Turns a bundle's lines into entries and refuses whatever is not as it must be.

    ``entries`` make an entry of what is on a line, by the names of the sections. Errors are
    Refused and name the line and the reason, never what is in it. The checksum is checked after
    the last entry was yielded: nothing may be kept of the entries before the iteration has ended.
    """

    def __init__(
        self, lines: Iterator[bytes], entries: Mapping[str, Callable[[dict[str, Any]], BaseModel]]
    ) -> None:
        self._lines = lines
        self._entries = entries
        self._digest = hashlib.sha256()
        self._number = 0
        self.read_bytes = 0
        self.sha256 = ""
        self.header = self._read_header()

    def __iter__(self) -> Iterator[tuple[str, BaseModel]]:
        """Yield each entry after the name of its section, then check the trailer."""
        for section, count in self.header.sections.items():
            for done in range(count):
                line = self._next(f"it ends after {done} of {count} {section}")
                placed = self._parsed(Placed, line)
                if placed.section != section:
                    raise self.refused(f"section {placed.section!r}, expected {section!r}")
                yield section, self._entry(section, placed.entry)
        self._trailer(sum(self.header.sections.values()))

    def refused(self, reason: str) -> Refused:
        """Return the error for the line that was read last."""
        return USER_BUNDLE.refused(self._number, reason)

    def _read_header(self) -> Header:
        header = self._parsed(Header, self._next("it is empty"))
        if header.version > VERSION:
            raise self.refused(
                f"format version {header.version} is newer than {VERSION}; update the workers"
            )
        unknown = sorted(set(header.sections) - set(self._entries))
        if header.version < 1 or unknown:
            raise self.refused(f"version {header.version} with unknown sections {unknown[:3]}")
        if not all(0 <= count <= COUNT_LIMIT for count in header.sections.values()):
            raise self.refused("a number of entries that cannot be")
        return header

    def _entry(self, section: str, entry: dict[str, Any]) -> BaseModel:
        try:
            return self._entries[section](entry)
        except ValidationError as error:
            raise self.refused(_reason(section, error)) from None
        except Refused as error:
            raise self.refused(f"{section}: {error}") from None

    def _trailer(self, count: int) -> None:
        expected = self._digest.hexdigest()
        trailer = self._parsed(Trailer, self._next("its trailer is missing"))
        if (trailer.count, trailer.sha256) != (count, expected):
            raise self.refused("the checksum differs: the bundle was altered; export it anew")
        if next(self._lines, None) is not None:
            self._number += 1
            raise self.refused("there is more after the trailer")
        self.sha256 = expected

    def _next(self, missing: str) -> bytes:
        line = next(self._lines, None)
        if line is None:
            raise Refused(f"the user bundle is truncated: {missing}; export it anew")
        self._number += 1
        self.read_bytes += len(line)
        self._digest.update(line)
        return line

    def _parsed(self, model: type[ModelT], line: bytes) -> ModelT:
        try:
            return model.model_validate_json(line)
        except ValidationError as error:
            raise self.refused(_reason(model.__name__.lower(), error)) from None


def _reason(place: str, error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"] == "extra_forbidden":
        return f"{place}: a key that format {VERSION} does not have"
    # Below a field come the sender's own keys, which are contents.
    field = f"{place}.{first['loc'][0]}" if first["loc"] else place
    return f"{field}: {first['msg'][:200]}"
