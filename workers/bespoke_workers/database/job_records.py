"""What became of jobs, for whoever looks after them: no payloads and no results."""

from typing import Any

from sqlalchemy import ColumnElement, DateTime, Uuid, literal, tuple_
from sqlmodel import col, select

from bespoke_schemas.jobs import Cursor, Get, Got, JobRecord, List, Listed, ListFailed
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Delivery, Job
from bespoke_workers.database.tables.jobs import WITHOUT_EFFECT

_id, _at, _user_id = col(Job.id), col(Job.finished_at), col(Job.user_id)
# Never the result: it may hold what a user said.
COLUMNS = (_id, col(Job.task), _user_id, col(Job.state), col(Job.reason), _at)
FIELDS = ("job_id", "task", "user_id", "state", "reason", "at")


class JobRecords:
    """Reads the records of jobs, for as long as they are kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, payload: Get) -> Got:
        """Read the record of a job; with a user, only if it is about that user."""
        conditions = [_id == payload.job_id, *_of(payload.user_id)]
        again = select(Delivery.redeliveries).where(col(Delivery.job_id) == payload.job_id)
        async with self._database.transaction() as session:
            statement = select(*COLUMNS).where(*conditions)  # type: ignore[call-overload]  # six columns
            row = (await session.exec(statement)).one_or_none()
            redeliveries = (await session.exec(again)).one_or_none() or 0
        if row is None:
            return Got(job=None)
        return Got(job=_record(row), redeliveries=redeliveries)

    async def list(self, payload: List) -> Listed:
        """List a user's jobs, or everybody's."""
        statement = page(payload.user_id, payload.after, payload.limit)
        return await self._listed(statement, payload.limit)

    async def list_failed(self, payload: ListFailed) -> Listed:
        """List the jobs of a user, or everybody's, that ended without an effect."""
        statement = page(payload.user_id, payload.after, payload.limit).where(WITHOUT_EFFECT)
        return await self._listed(statement, payload.limit)

    async def _listed(self, statement: Any, limit: int) -> Listed:
        async with self._database.transaction() as session:
            rows = (await session.exec(statement)).all()
        found = tuple(_record(row) for row in rows[:limit])
        more = len(rows) > limit
        last = Cursor(at=found[-1].at, job_id=found[-1].job_id) if more else None
        return Listed(jobs=found, next=last)


def page(user_id: str | None, after: Cursor | None, limit: int) -> Any:
    """Return the statement for a page of jobs, and one more if there is more.

    Without a user it is everybody's: whoever looks after jobs asks, and no user does.
    """
    statement = select(*COLUMNS).where(*_of(user_id))  # type: ignore[call-overload]  # six columns
    if after is not None:
        at, job_id = literal(after.at, DateTime(timezone=True)), literal(after.job_id, Uuid)
        statement = statement.where(tuple_(_at, _id) < tuple_(at, job_id))
    return statement.order_by(_at.desc(), _id.desc()).limit(limit + 1)


def _of(user_id: str | None) -> list[ColumnElement[bool]]:
    return [] if user_id is None else [_user_id == user_id]


def _record(row: Any) -> JobRecord:
    return JobRecord.model_validate(dict(zip(FIELDS, row, strict=True)))
