"""Which versions an export writes, in one statement, and thus from one snapshot."""

from typing import Any

import sqlmodel
from sqlalchemy import ARRAY, Select, Uuid, and_, any_, bindparam, func, select
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.exports import ExportPrograms
from bespoke_workers.database.tables import ActiveProgram, ProgramVersion
from bespoke_workers.errors import Refused


def selected(payload: ExportPrograms) -> "Select[ProgramVersion, bool, int]":
    """Return the query for the versions to export, in the order of their ids.

    Beside each: whether its owner has it in use, and the number of all that are selected.
    """
    conditions = _conditions(payload)
    total = select(func.count()).select_from(ProgramVersion).where(*conditions).scalar_subquery()
    pointer = and_(
        col(ActiveProgram.version_id) == col(ProgramVersion.id),
        col(ActiveProgram.program) == col(ProgramVersion.program),
        # A user may use a shared version; in the bundle it is its owner's.
        col(ActiveProgram.user_id).is_not_distinct_from(col(ProgramVersion.user_id)),
    )
    return (
        select(ProgramVersion, col(ActiveProgram.id).is_not(None), total)
        .join(ActiveProgram, pointer, isouter=True)
        .where(*conditions)
        .order_by(col(ProgramVersion.id))
    )


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
    # A bundle's entry has no place for a checkpoint's name: imported, it would be a version.
    conditions: list[Any] = [col(ProgramVersion.checkpoint).is_(None)]
    if payload.program_ids:
        # One parameter: a statement takes no more than 32,767 of them.
        ids = bindparam("ids", list(payload.program_ids), type_=ARRAY(Uuid))
        conditions.append(col(ProgramVersion.id) == any_(ids))
    if payload.user_id is not None:
        conditions.append(col(ProgramVersion.user_id) == payload.user_id)
    if payload.program is not None:
        conditions.append(col(ProgramVersion.program) == payload.program)
    return conditions
