"""What becomes of models that no version has, or has any more: nothing is left at the provider.

A model is needed while the run that trains it is open, and as long as there is the version that
it was trained for. So one look covers a run that was cancelled, failed or promoted nothing, a
version that was deleted, and a worker that died over any of these.
"""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, case, delete, exists, func, or_, update
from sqlmodel import col, select

from bespoke_schemas.optimization import FINETUNES
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import OptimizationJob, ProgramVersion, UserModel
from bespoke_workers.errors import BespokeError, Transient
from bespoke_workers.optimization.answers import ENDED
from bespoke_workers.optimization.finetuning import providers
from bespoke_workers.optimization.finetuning.provider import Begun, Leftover
from bespoke_workers.programs import model_endpoint
from bespoke_workers.settings import Settings

PAGE: Final = 20
CLAIM: Final = timedelta(minutes=5)
"""For which nobody else looks at a model that somebody removes, or could not remove."""

_log = structlog.get_logger("bespoke.optimization")


class Removal:
    """Removes models from their providers, and their rows after that."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def of_run(self, job_id: UUID) -> None:
        """Remove what an ended run left that no version has."""
        await self._remove_needless(col(UserModel.id) == job_id)

    async def needless(self) -> int:
        """Remove a page of models that nothing needs; return how many are gone.

        One whose provider is away is looked at again later.
        """
        return await self._remove_needless(col(UserModel.look_at) <= func.now())

    async def of_user(self, user_id: str) -> int:
        """Remove all models of a user whose runs have ended; return how many.

        Raises Transient while a provider is away, and Misconfigured or Refused where what is set
        does not lead to it.
        """
        mine = select(UserModel).where(UserModel.user_id == user_id)
        async with self._database.transaction() as session:
            rows = (await session.exec(mine)).all()
        for row in rows:
            await self._remove(row)
        return len(rows)

    async def _remove_needless(self, which: ColumnElement[bool]) -> int:
        gone = 0
        for row in await self._needless(which):
            try:
                await self._remove(row)
            except BespokeError as error:
                _log.warning("model not removed", about=str(row.id), reason=str(error))
                if isinstance(error, Transient):  # a provider that is away takes a minute to ask
                    break
            else:
                gone += 1
        return gone

    async def _needless(self, which: ColumnElement[bool]) -> list[UserModel]:
        """Look at a page of models; return those that nothing needs.

        One that its version has is not looked at again until that is deleted.
        """
        row = UserModel
        due = (
            select(row.id)
            .where(which)
            .order_by(col(row.look_at))
            .limit(PAGE)
            .with_for_update(skip_locked=True)
        )
        later = case((_has_version(), None), else_=func.now() + CLAIM)
        looked_at = (
            update(row)
            .where(col(row.id).in_(due))
            .values(look_at=later)
            .returning(row, or_(_is_open(), _has_version()))
        )
        async with self._database.transaction() as session:
            return [one for one, needed in await session.exec(looked_at) if not needed]

    async def _remove(self, row: UserModel) -> None:
        provider = providers.named(self._settings, row.provider)
        if row.api_base is not None:
            model_endpoint.of_row(self._settings, row)  # its key is for no other server
        begun = Begun(row.file_id, row.remote_id)
        leftover = Leftover(row.id, row.user_id, begun, row.name)
        await asyncio.to_thread(provider.remove, leftover)
        async with self._database.transaction() as session:
            await session.exec(
                delete(UserModel).where(
                    col(UserModel.id) == row.id, col(UserModel.user_id) == row.user_id
                )
            )


def _is_open() -> ColumnElement[bool]:
    job = OptimizationJob
    return exists().where(
        col(job.id) == col(UserModel.id),
        col(job.user_id) == col(UserModel.user_id),
        col(job.state).not_in(ENDED),
    )


def _has_version() -> ColumnElement[bool]:
    version = ProgramVersion
    return exists().where(
        col(version.id) == col(UserModel.id),
        col(version.user_id) == col(UserModel.user_id),
        col(version.program) == col(UserModel.program),
        col(version.optimizer) == FINETUNES,
    )
