"""Versions as the lines of a bundle."""

import hashlib
from uuid import UUID

from pydantic import BaseModel

from bespoke_workers.errors import Refused
from bespoke_workers.programs.bundle_format import (
    COUNT_LIMIT,
    LINE_LIMIT,
    USED_BY_LIMIT,
    Entry,
    Header,
    Trailer,
)


class Encoder:
    """Turns entries into a bundle's lines and keeps their checksum."""

    def __init__(self, job_id: UUID) -> None:
        self._job_id = job_id
        self._digest = hashlib.sha256()
        self._count = 0

    def header(self, count: int) -> bytes:
        """Return the first line; raises Refused if that is more than a bundle holds."""
        if count > COUNT_LIMIT:
            raise Refused(
                f"{count} versions are selected, and a bundle holds {COUNT_LIMIT}; "
                "export fewer programs at a time"
            )
        return self._line(Header(count=count, job_id=self._job_id))

    def entry(self, entry: Entry) -> bytes:
        """Return an entry's line; raises Refused for one that no import takes."""
        self._count += 1
        line = self._line(entry)
        if len(line) > LINE_LIMIT or len(entry.used_by) > USED_BY_LIMIT:
            raise Refused(
                f"version {entry.program_id} is too large for a bundle, or in use by more than "
                f"{USED_BY_LIMIT} users; export the others"
            )
        return line

    def trailer(self) -> bytes:
        """Return the last line."""
        return self._line(Trailer(sha256=self._digest.hexdigest(), count=self._count))

    def _line(self, model: BaseModel) -> bytes:
        line = model.model_dump_json().encode() + b"\n"
        self._digest.update(line)
        return line
