"""What became of a user's memories: the compactions and the archive."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from bespoke_schemas.memories import (
    Archived,
    ArchivedListed,
    CompactionRun,
    Compactions,
    ListArchived,
    ListCompactions,
)
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import archive_statements
from bespoke_workers.memories.answers import memory_of


class History:
    """Lists what compaction did and what the archive holds, for any user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def compactions(self, payload: ListCompactions) -> Compactions:
        """Return a page of the compactions that removed something, newest first."""
        parameters = {
            "user_id": payload.user_id,
            "limit": payload.limit,
            "offset": payload.offset,
        }
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(archive_statements.LIST_COMPACTIONS, parameters)).all()
        runs = tuple(_run(row) for row in rows if row.id is not None)
        return Compactions(runs=runs, total=rows[0].total, removed_total=rows[0].removed)

    async def archived(self, payload: ListArchived) -> ArchivedListed:
        """Return a page of the archive, what went last first."""
        parameters = {
            "user_id": payload.user_id,
            "run_id": payload.run_id,
            "reason": payload.reason,
            "since": payload.since,
            "limit": payload.limit,
            "offset": payload.offset,
        }
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(archive_statements.LIST_ARCHIVED, parameters)).all()
        archived = tuple(_archived(row) for row in rows if row.id is not None)
        return ArchivedListed(archived=archived, total=rows[0].total)


def _run(row: Row[Any]) -> CompactionRun:
    return CompactionRun(id=UUID(bytes=row.id.bytes), at=row.at, report=row.report)


def _archived(row: Row[Any]) -> Archived:
    return Archived(
        memory=memory_of(row),
        reason=row.reason,
        run_id=UUID(bytes=row.run_id.bytes),
        kept_id=None if row.kept_id is None else UUID(bytes=row.kept_id.bytes),
        similarity=row.similarity,
        removed_at=row.removed_at,
    )
