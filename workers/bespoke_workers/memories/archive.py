"""What leaves a user's memories goes to the archive, in the same transaction."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_workers.errors import Transient
from bespoke_workers.memories import statements


class Archive:
    """Moves one user's memories out of one version of their space, for one job."""

    def __init__(
        self,
        connection: AsyncConnection,
        *,
        user_id: str,
        run_id: UUID,
        version: int,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._run = {"user_id": user_id, "run_id": run_id, "version": version, "now": now}

    async def take(
        self,
        ids: Sequence[UUID],
        reason: str,
        *,
        kept_id: UUID | None = None,
        similarities: Sequence[float | None] | None = None,
    ) -> None:
        """Archive memories for a reason: duplicate, size, age, deduplication or relevance.

        For duplicates, ``kept_id`` is the memory that stays in their place and
        ``similarities`` says how alike each of them is to the one stored.
        """
        if not ids:
            return
        parameters = self._run | {
            "ids": list(ids),
            "similarities": list(similarities or [None] * len(ids)),
            "reason": reason,
            "kept_id": kept_id,
        }
        moved = await self._connection.execute(statements.ARCHIVE, parameters)
        if moved.rowcount != len(ids):
            raise Transient(
                f"the archive took {moved.rowcount} of {len(ids)} memories; "
                "the job is done again from the beginning"
            )
