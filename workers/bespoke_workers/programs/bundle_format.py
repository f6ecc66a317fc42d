"""What a bundle of versions looks like, line by line. Knows neither files nor the database.

Line 1 is the header, then one line for each version, then a trailer with the number of the
versions and the SHA-256 of all lines before it. Each line is a JSON document and ends in a
newline; the whole is compressed with gzip. Format 2 added ``used_by``, ``checkpoint``,
``checkpoint_of`` and ``added`` to the entries; without them a line is one of format 1.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bespoke_schemas.fields import STATE_LIMIT, Moment, Name, State, Tags, Text, UserId, storable
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.programs import bundle_keys
from bespoke_workers.programs.state import SIGNATURE_LIMIT

FORMAT: Final = "bespoke-programs"
VERSION: Final = 2
LINE_LIMIT = 4 * STATE_LIMIT + 2**21
"""Bytes of one line: a state of the longest, each character four bytes, and what is beside it."""
COUNT_LIMIT = 100_000
"""Versions of one bundle: as many as an export can name."""
USED_BY_LIMIT = 200_000
"""Users of one shared version; a line must hold them."""


class _Line(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


class Header(_Line):
    """The first line; ``job_id`` is the export that wrote it.

    What a newer format adds to it must not hide that it is newer.
    """

    model_config = ConfigDict(extra="ignore")

    format: Literal["bespoke-programs"] = FORMAT
    version: int = VERSION
    count: int = Field(ge=0, le=COUNT_LIMIT)
    job_id: UUID | None = None
    created_at: Moment = Field(default_factory=lambda: datetime.now(UTC))


class Entry(_Line):
    """One version; ``program_data`` is its state, ``active`` whether its owner had it in use.

    ``used_by`` names other users who had a shared version in use, ``added`` the keys that the
    export put into ``optimization_result`` and ``metadata`` for those who read the documents'.
    """

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
    used_by: Annotated[tuple[UserId, ...], Field(max_length=USED_BY_LIMIT)] = ()
    checkpoint: Name | None = None
    checkpoint_of: UUID | None = None
    added: tuple[bundle_keys.Key, ...] = ()

    @classmethod
    def of(cls, row: ProgramVersion, *, active: bool, used_by: Sequence[str] = ()) -> "Entry":
        """Return the entry of a version that the database holds; nothing in it is checked."""
        added = bundle_keys.missing(row)
        return cls.model_construct(
            program_id=row.id,
            user_id=row.user_id,
            program=row.program,
            saved_at=row.saved_at,
            program_data=row.state,
            optimization_result=bundle_keys.result(row, added),
            metadata=bundle_keys.metadata(row, added),
            signature=row.signature,
            fingerprint=row.fingerprint,
            optimizer=row.optimizer,
            score=row.score,
            tags=tuple(row.tags),
            description=row.description,
            parent_id=row.parent_id,
            active=active,
            used_by=tuple(used_by),
            checkpoint=row.checkpoint,
            checkpoint_of=row.checkpoint_of,
            added=added,
        )

    def as_stored(self) -> "Entry":
        """Return the entry without what the export added."""
        if not self.added:
            return self
        stored = {
            key: bundle_keys.without(key, getattr(self, key), self.added)
            for key in ("optimization_result", "metadata")
        }
        return self.model_copy(update={**stored, "added": ()})


class Trailer(_Line):
    """The last line."""

    sha256: str
    count: int


def in_use_by(entry: Entry) -> list[str | None]:
    """Return the users who had an entry's version in use; None stands for the shared base."""
    return [*([entry.user_id] if entry.active else []), *entry.used_by]


def job_of(line: bytes) -> UUID | None:
    """Return the export that wrote the bundle whose first line this is; None if nobody says."""
    try:
        return Header.model_validate_json(line).job_id
    except ValidationError:
        return None
