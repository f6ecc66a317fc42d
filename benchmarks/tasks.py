"""The floors that jobs are measured against: one ORM INSERT and COMMIT, and nothing at all."""

from datetime import UTC, datetime
from uuid import UUID

from bespoke_schemas.memories import Counted
from bespoke_workers.app import Outcome, celery, internal
from bespoke_workers.database.tables import Delivery
from bespoke_workers.runtime import Runtime

INSERT = "benchmarks.insert"
NOTHING = "benchmarks.nothing"


@internal(INSERT)
async def insert(this: Runtime, job_id: str) -> Outcome:
    """Insert one small row through the ORM and commit."""
    async with this.database.transaction() as session:
        now = datetime.now(UTC)
        session.add(Delivery(job_id=UUID(job_id), task=INSERT, redeliveries=0, last_at=now))
    return Outcome(INSERT, Counted(count=1))


@celery.task(name=NOTHING, ignore_result=True)
def nothing() -> None:
    """Do nothing, as bare Celery does it."""
