"""The ``job`` row of a job whose answer comes later, such as an optimization or a round.

It is inserted when the job is accepted, so that its id is taken and it cannot be cancelled
behind the back of whoever runs it, and completed when the job ends.
"""

from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, func
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import Payload, Result
from bespoke_schemas.memories import Import
from bespoke_schemas.programs import Cleanup
from bespoke_workers.database.tables import Job
from bespoke_workers.errors import BespokeError, Cancelled, Parked, Refused

ACCEPTED = "accepted"
PAGED = (Import.task, Cleanup.task)
"""Jobs that go page by page: until the last one their row is accepted and tells how far it is."""
ENDS = {"succeeded": "done", "failed": "failed", "parked": "parked", "cancelled": "cancelled"}

_GIVEN: Final = ("id", "task", "user_id", "state", "result", "reason")


async def accept(session: AsyncSession, payload: Payload[Any]) -> bool:
    """Insert the row of a job that begins here; False if it is there already.

    Raises Cancelled if the job was cancelled before it came, Refused if the id is another's.
    """
    inserted = await session.exec(
        insert(Job)
        .values(id=payload.id, task=payload.task, user_id=payload.subject(), state=ACCEPTED)
        .on_conflict_do_nothing()
    )
    if inserted.rowcount == 1:
        return True
    known = await session.get_one(Job, payload.id)
    if known.state == "cancelled" and known.task != payload.task:
        raise Cancelled(known.reason or "cancelled")
    if known.task != payload.task or known.user_id != payload.subject():
        raise Refused(
            f"the id {payload.id} belongs to another job; give each payload an id of its own"
        )
    return False


async def complete(
    session: AsyncSession,
    job_id: UUID,
    task: str,
    state: str,
    *,
    user_id: str | None = None,
    result: Result | None = None,
    reason: str | None = None,
) -> None:
    """Record how a job ended: ``state`` is succeeded, failed, parked or cancelled."""
    given = {
        "id": job_id,
        "task": task,
        "user_id": user_id,
        "state": ENDS[state],
        "result": None if result is None else result.model_dump(mode="json"),
        "reason": reason,
    }
    connection = await session.connection()
    await connection.execute(_ending(), given)


@cache
def _ending() -> Insert:
    """Write the end of a job, whose row may be there."""
    made = insert(Job).values(finished_at=func.now(), **{name: bindparam(name) for name in _GIVEN})
    new = made.excluded
    end = {name: new[name] for name in ("state", "result", "reason", "finished_at")}
    return made.on_conflict_do_update(index_elements=["id"], set_=end)


def failure(state: str, reason: str | None) -> BespokeError:
    """Return the error with which a job that ended as ``state`` answers."""
    if state == "cancelled":
        return Cancelled(reason or "cancelled")
    if state == "parked":
        return Parked(reason or "parked")
    return Refused(reason or "failed")
