"""Which versions an export writes, in one statement, and thus from one snapshot."""

from typing import Any

import sqlmodel
from sqlalchemy import ARRAY, Select, Uuid, and_, any_, bindparam, func, select
from sqlalchemy.orm import aliased
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.exports import ExportPrograms
from bespoke_workers.database.tables import ActiveProgram, ProgramVersion
from bespoke_workers.errors import Refused


def selected(payload: ExportPrograms) -> "Select[ProgramVersion, bool, list[str], int]":
    """Return the query for the versions to export, in the order of their ids.

    Beside each: whether its owner has it in use, which other users have it in use if it is
    shared, and the number of all that are selected.
    """
    conditions = _conditions(payload)
    total = select(func.count()).select_from(ProgramVersion).where(*conditions).scalar_subquery()
    pointer = and_(
        col(ActiveProgram.version_id) == col(ProgramVersion.id),
        col(ActiveProgram.program) == col(ProgramVersion.program),
        col(ActiveProgram.user_id).is_not_distinct_from(col(ProgramVersion.user_id)),
    )
    return (
        select(ProgramVersion, col(ActiveProgram.id).is_not(None), _others(), total)
        .join(ActiveProgram, pointer, isouter=True)
        .where(*conditions)
        .order_by(col(ProgramVersion.id))
    )


def _others() -> Any:
    """Return the users who have a shared version in use, in one array."""
    other = aliased(ActiveProgram)
    users = (
        select(col(other.user_id))
        .where(
            col(other.version_id) == col(ProgramVersion.id),
            col(other.program) == col(ProgramVersion.program),
            col(ProgramVersion.user_id).is_(None),
            col(other.user_id).is_not(None),
        )
        .order_by(col(other.user_id))
        .correlate(ProgramVersion)
    )
    return func.array(users.scalar_subquery())


async def check_all_there(session: AsyncSession, payload: ExportPrograms, found: int) -> None:
    """Raise Refused if the payload names versions and not all of them were found."""
    wanted = set(payload.program_ids)
    if found >= len(wanted):
        return
    there = await session.exec(sqlmodel.select(ProgramVersion.id).where(*_conditions(payload)))
    missing = sorted(wanted - set(there))
    raise Refused(
        f"{len(missing)} of {len(wanted)} program_ids are not there, or not of that user and "
        f"program; the first is {missing[0]}"
    )


def _conditions(payload: ExportPrograms) -> list[Any]:
    conditions: list[Any] = []
    if payload.program_ids:
        # One parameter: a statement takes no more than 32,767 of them.
        ids = bindparam("ids", list(payload.program_ids), type_=ARRAY(Uuid))
        conditions.append(col(ProgramVersion.id) == any_(ids))
    elif not payload.checkpoints:
        conditions.append(col(ProgramVersion.checkpoint).is_(None))
    if payload.user_id is not None:
        conditions.append(col(ProgramVersion.user_id) == payload.user_id)
    if payload.program is not None:
        conditions.append(col(ProgramVersion.program) == payload.program)
    return conditions
