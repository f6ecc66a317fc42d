"""A job takes effect exactly once, however often it is delivered (DESIGN §3, invariant 1).

The job's row is inserted under its id in the transaction of the effect. A second delivery
waits for the first one's transaction, finds the row and answers with the result in it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import Payload, Result
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Job
from bespoke_workers.errors import Cancelled, Parked, Refused, Transient

ResultT = TypeVar("ResultT", bound=Result)


async def once(
    database: Database,
    payload: Payload[ResultT],
    effect: Callable[[AsyncSession], Awaitable[ResultT]],
    *,
    snapshot: bool = False,
) -> ResultT:
    """Run ``effect`` in a transaction unless this job has taken effect; return its result.

    With a ``snapshot``, all that it reads is of one moment.

    Raises whatever ``effect`` raises, in which case nothing of it stays; Cancelled or
    Parked if the job ended that way before.
    """
    async with database.transaction(snapshot=snapshot) as session:
        if not await begin(session, payload):
            return await recorded(session, payload)
        result = await effect(session)
        await session.exec(
            update(Job)
            .where(col(Job.id) == payload.id)
            .values(result=result.model_dump(mode="json"))
        )
        return result


async def begin(session: AsyncSession, payload: Payload[Any]) -> bool:
    """Insert the job's row; False if the job has taken effect (or ended) before."""
    statement = (
        insert(Job)
        .values(id=payload.id, task=payload.task, user_id=payload.subject(), state="done")
        .on_conflict_do_nothing()
    )
    inserted = await session.exec(statement)
    return inserted.rowcount == 1


async def recorded(session: AsyncSession, payload: Payload[ResultT]) -> ResultT:
    """Return the result with which this job took effect before."""
    job = await session.get(Job, payload.id)
    if job is None:
        raise Transient("the job's record has just been erased; the job is tried again")
    return answer(payload, job)


def answer(payload: Payload[ResultT], job: Job) -> ResultT:
    """Return the result that ``job`` holds; raises as the job ended.

    Raises Refused if the id belongs to a job of another task or user: an id is never reused.
    """
    # Whoever parks or cancels a job knows its id, and not always its task and user.
    if job.state == "cancelled":
        raise Cancelled(job.reason or "cancelled")
    if job.state == "parked":
        raise Parked(job.reason or "parked")
    if job.task != payload.task or job.user_id != payload.subject():
        raise Refused.reused(job.id)
    if job.state == "failed":
        raise Refused(job.reason or "failed")
    return payload.result_type.model_validate(job.result)  # type: ignore[return-value]  # result_type is the payload's ResultT


async def end(session: AsyncSession, job_id: UUID, task: str, state: str, reason: str) -> bool:
    """Record that a job ended without an effect; False if it had ended before."""
    statement = (
        insert(Job)
        .values(id=job_id, task=task, state=state, reason=reason)
        .on_conflict_do_nothing()
    )
    ended = await session.exec(statement)
    return ended.rowcount == 1
