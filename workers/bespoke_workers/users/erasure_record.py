"""The row of an erasure: the fence, how far the erasure is, and what it came to.

The steps of an erasure are done again from the beginning by whoever takes it up after a kill;
the counts of what was erased stand in the row, in the transaction of each step.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.exports import Erased, EraseUser
from bespoke_workers.database import once, records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Erasure, Job
from bespoke_workers.users.times import made_at


@dataclass(frozen=True)
class Through:
    """How far an erasure is through the files: the last one looked into, and how many were not."""

    name: str = ""
    unread: int = 0


async def begin(database: Database, payload: EraseUser) -> Erased | None:
    """Put up the fence; the result if the job has ended, or its user was erased since.

    Raises Refused if the id belongs to another job.
    """
    async with database.transaction() as session:
        if not await records.accept(session, payload):
            job = await session.get_one(Job, payload.id)
            if job.state != records.ACCEPTED:
                return once.answer(payload, job)
        await session.exec(
            insert(Erasure)
            .values(
                subject=payload.subject(), job_id=payload.id, state="stopping", before=func.now()
            )
            .on_conflict_do_nothing()
        )
        row = await session.get_one(Erasure, payload.subject(), with_for_update=True)
        if row.state != "done":
            return None
        made = made_at(payload.id)
        if row.job_id == payload.id or (made is not None and made <= row.before):
            return await _end(session, payload, row)
        row.state, row.job_id, row.ended_at = "stopping", payload.id, None
        row.before = row.begun_at = await _now(session)
        row.found = {}
        session.add(row)
    return None


async def held(session: AsyncSession, payload: EraseUser) -> Erasure | None:
    """Lock the row until the transaction ends; None if another job has ended the erasure.

    Whatever erases in the database does so under this lock: nothing may go of a user who has
    begun anew.
    """
    row = await session.get_one(Erasure, payload.subject(), with_for_update=True)
    return None if row.state == "done" else row


async def is_on(database: Database, payload: EraseUser) -> bool:
    """Whether the erasure goes on; False once another job has ended it."""
    async with database.transaction() as session:
        return await held(session, payload) is not None


async def advance(database: Database, payload: EraseUser, state: str) -> datetime | None:
    """Move the fence to now while all is refused, under the next state; None if it is past that.

    Messages up to the moment returned may be taken away.
    """
    async with database.transaction() as session:
        row = await held(session, payload)
        if row is None:
            return None
        if row.state == "stopping":
            row.before, row.state = await _now(session), state
            session.add(row)
            await session.exec(
                update(Erasure)
                .where(col(Erasure.job_id) == row.job_id, col(Erasure.state) == "stopping")
                .values(before=row.before, state=state)
            )
        return row.before


async def through(database: Database, payload: EraseUser) -> Through:
    """Return how far an erasure is through the files."""
    async with database.transaction() as session:
        job = await session.get_one(Job, payload.id)
        return Through(**(job.result or {}))


async def note(
    database: Database, payload: EraseUser, found: Mapping[str, int], reached: Through | None
) -> None:
    """Add to the counts of what was erased outside of the database, and note how far that is."""
    async with database.transaction() as session:
        row = await held(session, payload)
        if row is None:
            return
        add(session, row, found)
        if reached is None:
            return
        await session.exec(
            update(Job)
            .where(col(Job.id) == payload.id, col(Job.state) == records.ACCEPTED)
            .values(result=asdict(reached))
        )


def add(session: AsyncSession, row: Erasure, found: Mapping[str, int]) -> None:
    """Add to the counts in the row, in the transaction that erases."""
    total = Counter(row.found)
    total.update(found)
    row.found = dict(total)
    session.add(row)


async def end(database: Database, payload: EraseUser, unread: int) -> Erased:
    """Let jobs made from now on have their effects, and record the result."""
    async with database.transaction() as session:
        row = await session.get_one(Erasure, payload.subject(), with_for_update=True)
        if row.state != "done":
            done = {"state": "done", "ended_at": func.now(), "ending": []}
            await session.exec(
                update(Erasure).where(col(Erasure.job_id) == row.job_id).values(**done)
            )
        return await _end(session, payload, row, unread)


async def _end(session: AsyncSession, payload: EraseUser, row: Erasure, unread: int = 0) -> Erased:
    found = {kind: count for kind, count in sorted(row.found.items()) if count}
    result = Erased(erased=found, unread_files=unread)
    await records.complete(
        session, payload.id, payload.task, "succeeded", user_id=payload.subject(), result=result
    )
    return result


async def _now(session: AsyncSession) -> datetime:
    now: datetime = (await session.exec(select(func.clock_timestamp()))).one()
    return now
