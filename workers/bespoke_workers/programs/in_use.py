"""What a user's program consists of at this moment: the user's version in use and the base's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, or_, select

from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import ActiveProgram, ProgramVersion, UserModel
from bespoke_workers.programs.user_models import model_of

# Two look-ups in the unique index of the pointers; no row of a version is touched.
_POINTERS = text(
    "SELECT user_id, id, generation, version_id FROM active_program"
    " WHERE program = :program AND (user_id = :user_id OR user_id IS NULL)"
    " AND version_id IS NOT NULL"  # after a rollback to none it stands nowhere
)

Mark = tuple[UUID, int, UUID]
"""A pointer's id, its generation and its version: another mark is another version in use.

A pointer that was deleted and made anew counts its generations anew, under another id.
"""


@dataclass(frozen=True)
class Pointers:
    """Where the user's pointer and the shared base's stand; None where there is none."""

    own: Mark | None
    base: Mark | None


@dataclass(frozen=True)
class InUse:
    """The versions in use, read together with their pointers in one statement."""

    pointers: Pointers
    own: ProgramVersion | None
    base: ProgramVersion | None
    model: UserModel | None = None  # that the user's version is called with

    @property
    def versions(self) -> list[ProgramVersion]:
        """The versions there are, the user's first."""
        return [version for version in (self.own, self.base) if version is not None]


async def pointers(database: Database, program: str, user_id: str | None) -> Pointers:
    """Return where the pointers stand now."""
    async with database.direct() as connection:
        return await pointers_on(connection, program, user_id)


async def pointers_on(connection: Connection, program: str, user_id: str | None) -> Pointers:
    """Return where the pointers stand as a transaction sees them."""
    answer = await connection.execute(_POINTERS, {"program": program, "user_id": user_id})
    return _pointers(answer.all(), user_id)


async def in_use(database: Database, program: str, user_id: str | None) -> InUse:
    """Return the versions in use now, with their states."""
    owner = col(ActiveProgram.user_id)
    statement = (
        select(ActiveProgram, ProgramVersion)
        .join(ProgramVersion, col(ActiveProgram.version_id) == col(ProgramVersion.id))
        .where(col(ActiveProgram.program) == program, or_(owner == user_id, owner.is_(None)))
    )
    async with database.transaction() as session:
        rows = (await session.exec(statement)).all()
        versions = {pointer.user_id: version for pointer, version in rows}
        own = None if user_id is None else versions.get(user_id)
        model = await model_of(session, own)
    where = _pointers([pointer for pointer, _ in rows], user_id)
    return InUse(where, own, versions.get(None), model)


def _pointers(rows: Sequence[Any], user_id: str | None) -> Pointers:
    marks = {row.user_id: (row.id, row.generation, row.version_id) for row in rows}
    return Pointers(None if user_id is None else marks.get(user_id), marks.get(None))
