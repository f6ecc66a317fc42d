"""How far a cleanup is: kept in its job's row until the result takes its place.

It holds ids and counts, and the name of the user at whom it is, as the row of a job may.
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
    """What was deleted so far, and after which owner and program to go on.

    ``max_stored`` is what it was when the cleanup began.
    """

    model_config = ConfigDict(frozen=True)

    max_stored: int
    at: Literal["base", "users", "done"]
    user_id: str = ""
    program: str = ""
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
            user_id=payload.user_id or "",
        )

    def after(self, last: Row[Any]) -> Self:
        """Return the progress with everything done up to an owner and program."""
        return self.model_copy(
            update={"user_id": last.user_id or self.user_id, "program": last.program}
        )

    def at_end_of_part(self, *, everybody: bool) -> Self:
        """Return the progress with the base done, after which the users come, or with all done."""
        if self.at == "base" and everybody:
            return self.model_copy(update={"at": "users", "program": ""})
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
