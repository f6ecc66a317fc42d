"""MLflow is told of each optimization, after its end, by upkeep: no run waits for it.

A row that is claimed while MLflow is configured carries the time from which it is to be told
of, ``track_at``; that is cleared once MLflow has it. So while the server is away nothing is
lost, and what it was told twice is one run, found by its job's id.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import ColumnElement, Update, and_, func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import OptimizationJob, ProgramVersion
from bespoke_workers.errors import Refused, Transient
from bespoke_workers.observe import events
from bespoke_workers.optimization.tracking.tracked_run import TrackedRun, tracked_run
from bespoke_workers.settings import Settings

if TYPE_CHECKING:
    from bespoke_workers.optimization.tracking.mlflow_server import MlflowServer

PAGE: Final = 20
PASS_SECONDS: Final = 20.0
"""Upkeep has more to do than this; the rest is told the next time."""
CLAIM: Final = timedelta(minutes=2)
"""As long as this a row is told of by one worker; longer than any pass takes."""
LONGEST: Final = timedelta(days=1)
"""What fails is tried again after as long as it is old, and at least this often."""

_log = structlog.get_logger("bespoke.tracking")


class Tracking:
    """Tells MLflow of optimizations, and has it forget users."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._url = settings.mlflow()
        self._with_state = settings.mlflow_state

    async def tell(self) -> int:
        """Tell of optimizations that ended, for a while; return of how many.

        While the server is away, it stops at the first, and is to be called again later.
        """
        told, until = 0, time.monotonic() + PASS_SECONDS
        while self._url is not None and time.monotonic() < until:
            due = await self._due()
            for row in due:
                try:
                    told += await self._tell(row)
                except Transient as error:
                    _log.warning("MLflow is told later", reason=str(error))
                    return told
                if time.monotonic() >= until:
                    break
            if len(due) < PAGE:
                break
        return told

    async def forget(self, user_id: str) -> int:
        """Delete a user's runs from MLflow, with the states kept there; return how many.

        To be called once the user's rows are deleted, which waits for a pass that is telling of
        one of them. Raises Transient while the server is away; does nothing without one.
        """
        if self._url is None:
            return 0
        return await asyncio.to_thread(self._forget, events.hashed(user_id))

    @cached_property
    def _server(self) -> "MlflowServer":
        from bespoke_workers.optimization.tracking.mlflow_server import MlflowServer

        assert self._url is not None
        return MlflowServer(self._url)

    async def _due(self) -> Sequence[OptimizationJob]:
        """Take a page of rows, which come due again if this worker dies."""
        row = OptimizationJob
        due = (
            select(row.id)
            .where(col(row.track_at) <= func.now(), col(row.finished_at).is_not(None))
            .order_by(col(row.track_at))
            .limit(PAGE)
            .with_for_update(skip_locked=True)
        )
        async with self._database.transaction() as session:
            taken = await session.exec(
                update(row)
                .where(col(row.id).in_(due))
                .values(track_at=func.now() + CLAIM)
                .returning(row)
            )
            return taken.scalars().all()

    async def _tell(self, row: OptimizationJob) -> bool:
        """Tell of one row; False if MLflow will not have it, or it has been erased meanwhile."""
        try:
            async with self._database.transaction() as session:
                if not await _held(session, row):
                    return False
                run = await self._run(session, row)
                await asyncio.to_thread(self._record, run)
                await session.exec(_due_at(row, None))
                return True
        except Refused as error:
            _log.warning("not told to MLflow", about=str(row.id), reason=str(error))
            await self._later(row)
            return False
        except Transient:
            await self._later(row)
            raise

    def _record(self, run: TrackedRun) -> None:
        self._server.record(run)  # imports MLflow the first time, which takes seconds

    def _forget(self, user: str) -> int:
        return self._server.forget_user(user)

    async def _run(self, session: AsyncSession, row: OptimizationJob) -> TrackedRun:
        version = ProgramVersion
        statement = select(version.meta, version.state).where(
            col(version.id) == row.id, col(version.user_id) == row.user_id
        )
        found = (await session.exec(statement)).first()
        if found is None:  # it saved none, or it was deleted since
            return tracked_run(row)
        meta, state = found
        return tracked_run(
            row, versions=meta.get("versions"), state=state if self._with_state else None
        )

    async def _later(self, row: OptimizationJob) -> None:
        """Let others go first, if it is this row that MLflow fails at."""
        age = func.now() - col(OptimizationJob.finished_at)
        wait = func.least(func.greatest(age, CLAIM), LONGEST)
        async with self._database.autocommit() as connection:
            await connection.execute(_due_at(row, func.now() + wait))


async def _held(session: AsyncSession, row: OptimizationJob) -> bool:
    """Keep a row from being deleted while MLflow is told; False if it is gone.

    Whoever erases its user waits, and has MLflow forget the user after that.
    """
    held = _this(row)
    statement = select(OptimizationJob.id).where(held).with_for_update(read=True, key_share=True)
    return (await session.exec(statement)).first() is not None


def _due_at(row: OptimizationJob, moment: ColumnElement[Any] | None) -> Update:
    return update(OptimizationJob).where(_this(row)).values(track_at=moment)


def _this(row: OptimizationJob) -> ColumnElement[bool]:
    table = OptimizationJob
    return and_(col(table.id) == row.id, col(table.user_id) == row.user_id)
