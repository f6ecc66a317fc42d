"""How far a cleanup is: kept in its job's row until the result takes its place.

It holds ids of versions and counts, and names no user: the row outlives one who is erased.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row

from bespoke_schemas.programs import CleanedUp, Cleanup

NAMED: Final = 1_000
"""How many of the deleted versions an answer names."""


class CleaningProgress(BaseModel):
    """What was deleted so far, and where to go on.

    Everything is done up to the owner and program of the version ``after``. ``max_stored`` is
    what it was when the cleanup began.
    """

    model_config = ConfigDict(frozen=True)

    max_stored: int
    at: Literal["base", "users", "done"]
    after: UUID | None = None
    deleted_count: int = 0
    kept_count: int = 0
    size_bytes: int = 0
    program_ids: tuple[UUID, ...] = ()

    @classmethod
    def begin(cls, payload: Cleanup, max_stored: int) -> Self:
        """Return where a cleanup begins: with the shared base, unless it is one user's."""
        return cls(
            max_stored=payload.max_stored_programs or max_stored,
            at="base" if payload.user_id is None else "users",
        )

    def through(self, version_id: UUID) -> Self:
        """Return the progress with everything done up to a version's owner and program."""
        return self.model_copy(update={"after": version_id})

    def at_end_of_part(self, *, everybody: bool) -> Self:
        """Return the progress with the base done, after which the users come, or with all done."""
        if self.at == "base" and everybody:
            return self.model_copy(update={"at": "users", "after": None})
        return self.model_copy(update={"at": "done"})

    def with_deleted(self, planned: Sequence[Row[Any]], sizes: Mapping[UUID, int]) -> Self:
        """Return the progress with what a page deleted; ``sizes`` are bytes by id."""
        found = Counter((row.user_id, row.program, row.is_checkpoint) for row in planned)
        whole = {
            group: row.staying
            for row in planned
            if found[group := (row.user_id, row.program, row.is_checkpoint)] == row.going
        }
        named = [row.id for row in planned if row.id in sizes]
        return self.model_copy(
            update={
                "deleted_count": self.deleted_count + len(sizes),
                "kept_count": self.kept_count + sum(whole.values()) + len(planned) - len(sizes),
                "size_bytes": self.size_bytes + sum(sizes.values()),
                "program_ids": (*self.program_ids, *named)[:NAMED],
            }
        )

    def result(self, *, dry_run: bool) -> CleanedUp:
        """Return the answer."""
        return CleanedUp(
            deleted_count=self.deleted_count,
            kept_count=self.kept_count,
            size_bytes=self.size_bytes,
            program_ids=self.program_ids,
            dry_run=dry_run,
        )
