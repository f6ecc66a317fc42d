"""What leaves a user's memories goes to the archive, in the same transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from bespoke_schemas.memories import Compaction
from bespoke_workers.database.direct import Connection
from bespoke_workers.errors import Transient
from bespoke_workers.memories import archive_statements, statements
from bespoke_workers.memories.plan import Plan

UPDATED = "updated"
"""The reason of an earlier state of a memory that has changed since."""


class Archive:
    """Moves one user's memories out of one version of their space, for one job."""

    def __init__(
        self,
        connection: Connection,
        *,
        user_id: str,
        run_id: UUID,
        version: int,
        now: datetime,
    ) -> None:
        self.user_id = user_id
        self.run_id = run_id
        self.now = now
        self._connection = connection
        self.run: Final = {"user_id": user_id, "run_id": run_id, "version": version, "now": now}

    async def take(
        self,
        ids: Sequence[UUID],
        reason: str,
        *,
        kept_id: UUID | Mapping[UUID, UUID] | None = None,
        similarities: Sequence[float | None] | None = None,
    ) -> None:
        """Archive memories for a reason.

        Reasons are duplicate, size, age, deduplication, relevance, deleted and cleared;
        a copy of what stays has updated.

        For duplicates, ``kept_id`` is the memory that stays in their place, one for all or one
        for each, and ``similarities`` says how alike each of them is to what set it off.
        """
        if not ids:
            return
        parameters = self.run | {
            "ids": list(ids),
            "similarities": None if similarities is None else list(similarities),
            "reason": reason,
            "kept_ids": _kept(ids, kept_id),
        }
        moved = (await self._connection.execute(statements.ARCHIVE, parameters)).one().moved
        self.require(moved, len(ids))

    def require(self, moved: int, count: int) -> None:
        """Raise Transient unless the archive took all that goes."""
        if moved != count:
            raise Transient(
                f"the archive took {moved} of {count} memories; "
                "the job is done again from the beginning"
            )

    async def copy(self, ids: Sequence[UUID]) -> None:
        """Archive memories as they are now, before they change; they stay among the others."""
        if ids:
            parameters = self.run | {"ids": list(ids), "reason": UPDATED}
            await self._connection.execute(archive_statements.ARCHIVE_COPIES, parameters)

    async def take_all(self, planned: Plan) -> None:
        """Archive what a plan removes for size, age and relevance."""
        await self.take(planned.size, "size")
        await self.take(planned.age, "age")
        await self.take(planned.relevance, "relevance")

    async def record(self, report: Compaction) -> None:
        """Keep the report of a compaction that removed something."""
        parameters = self.run | {"report": report.model_dump_json()}
        await self._connection.execute(statements.RECORD_COMPACTION, parameters)


def _kept(
    ids: Sequence[UUID], kept_id: UUID | Mapping[UUID, UUID] | None
) -> list[UUID | None] | None:
    """Return what stays in the place of each; None where nothing does."""
    if kept_id is None:
        return None
    return [kept_id.get(one) if isinstance(kept_id, Mapping) else kept_id for one in ids]
