"""How far an import is, kept in its job's row until the result takes its place.

The row begins as ``accepted`` and ends as ``done``, or as ``failed`` where it cannot go on. It
holds counts and a checksum, no contents.
"""

from pydantic import BaseModel, ConfigDict
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.memories import Import, Imported
from bespoke_workers.database import once
from bespoke_workers.database.engine import Database
from bespoke_workers.database.records import ACCEPTED
from bespoke_workers.database.tables import Job
from bespoke_workers.errors import Refused, Transient
from bespoke_workers.memories.record_source import Fingerprint
from bespoke_workers.memories.record_statements import (
    ADVANCE_IMPORT,
    BEGIN_IMPORT,
    REFUSE_IMPORT,
)


class ImportProgress(BaseModel):
    """How many of an import's records are done, and what became of them.

    ``sha256`` and ``total`` are those of the lines when the import began.
    """

    model_config = ConfigDict(frozen=True)

    sha256: str
    total: int
    done: int = 0
    imported: int = 0
    merged: int = 0
    present: int = 0
    archived: int = 0

    def check(self, now: Fingerprint) -> None:
        """Raise Refused if the lines are not those that the import began with."""
        if (now.sha256, now.total) != (self.sha256, self.total):
            raise Refused(
                f"the record file has changed since this import began: {self.done} of its "
                f"{self.total} records are done; import it again under a new id"
            )


async def find(database: Database, payload: Import) -> ImportProgress | Imported | None:
    """Return how far an import is, or its result; None if it has not begun.

    Raises as the job ended, or Refused if the id belongs to another job.
    """
    async with database.transaction() as session:
        job = await session.get(Job, payload.id)
        return None if job is None else _read(payload, job)


async def begin(
    database: Database, payload: Import, found: Fingerprint
) -> ImportProgress | Imported:
    """Record that an import begins, unless it has."""
    progress = ImportProgress(sha256=found.sha256, total=found.total)
    parameters = {
        "id": payload.id,
        "task": payload.task,
        "user_id": payload.user_id,
        "result": progress.model_dump_json(),
    }
    async with database.transaction() as session:
        await (await session.connection()).execute(BEGIN_IMPORT, parameters)
        return _read(payload, await session.get_one(Job, payload.id))


async def hold(session: AsyncSession, payload: Import) -> ImportProgress | Imported:
    """Return how far an import is, which nobody else changes until the transaction ends."""
    job = await session.get(Job, payload.id, with_for_update=True)
    if job is None:
        raise Transient("the import's record has just been erased; the job is tried again")
    return _read(payload, job)


async def write(session: AsyncSession, payload: Import, reached: ImportProgress | Imported) -> None:
    """Write how far the import is, or its result."""
    parameters = {
        "id": payload.id,
        "user_id": payload.user_id,
        "state": "done" if isinstance(reached, Imported) else ACCEPTED,
        "result": reached.model_dump_json(),
    }
    await (await session.connection()).execute(ADVANCE_IMPORT, parameters)


async def refuse(database: Database, payload: Import, reason: str) -> None:
    """Record that an import which has begun ends as it is, and why."""
    refused = {
        "id": payload.id,
        "task": payload.task,
        "user_id": payload.user_id,
        "reason": reason,
    }
    async with database.transaction() as session:
        await (await session.connection()).execute(REFUSE_IMPORT, refused)


def _read(payload: Import, job: Job) -> ImportProgress | Imported:
    is_own = (job.task, job.user_id) == (payload.task, payload.subject())
    if is_own and job.state == ACCEPTED:
        return ImportProgress.model_validate(job.result)
    return once.answer(payload, job)
