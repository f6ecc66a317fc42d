"""The statements that find versions, each shaped so that one index gives its rows in order.

Every index of versions begins with the owner. PostgreSQL takes ``user_id IS NULL`` for a
condition of an index, but not for a proof that ``user_id`` is the same in all rows, so that
column stands first in each ORDER BY: without it the shared base would be sorted. The table of
tags has an empty ``user_id`` instead, which is an equality like any other.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlmodel
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased
from sqlalchemy.sql.selectable import FromClause
from sqlmodel import col
from sqlmodel.sql.expression import SelectOfScalar

from bespoke_schemas.programs import Best, Cursor, Find, List
from bespoke_workers.database.tables import ActiveProgram, ProgramVersion, VersionTag
from bespoke_workers.errors import Refused

JOINED_TAGS = 4  # of one question; planning takes longer with each
DESCRIPTION_SHOWN = 200  # characters of a description that a summary has
_PLANNING = text(
    "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), "
    "set_config('enable_incremental_sort', 'off', true)"
)

_id, _user_id, _program = (
    col(ProgramVersion.id),
    col(ProgramVersion.user_id),
    col(ProgramVersion.program),
)
_score, _saved_at = col(ProgramVersion.score), col(ProgramVersion.saved_at)
_checkpoint, _signature = col(ProgramVersion.checkpoint), col(ProgramVersion.signature)
COLUMNS = (
    _id, _user_id, _program, _signature, col(ProgramVersion.optimizer), _score,
    col(ProgramVersion.tags), col(ProgramVersion.description), col(ProgramVersion.parent_id),
    col(ProgramVersion.size_bytes), _saved_at, _checkpoint, col(ProgramVersion.checkpoint_of),
)  # fmt: skip
"""What a summary is made of."""
_SHOWN_WHOLE = (
    "id", "user_id", "program", "signature", "optimizer", "score", "tags", "parent_id",
    "size_bytes", "saved_at", "checkpoint", "checkpoint_of",
)  # fmt: skip
_NEWEST_FIRST = (_user_id.desc(), _saved_at.desc(), _id.desc())
_BEST_FIRST = (_user_id.desc(), _score.desc(), _saved_at.desc(), _id.desc())


async def plan_each_time(connection: AsyncConnection) -> None:
    """Have each statement of the transaction planned for the values that it is given.

    A plan made for any value does not know that a tag is rare, or that a user has a million
    versions, and reads all of them. Nor are incremental sorts any good here: by ``user_id``
    they have one group, and are taken for cheap because there might be many.
    """
    await connection.execute(_PLANNING)


def found(payload: Find, now: datetime) -> Select[Any]:
    """Return the statement for a page of what is sought, and one row more if there is more."""
    since = None if payload.max_age_days is None else now - timedelta(days=payload.max_age_days)
    if payload.tags and not payload.checkpoints:
        return _page(_tagged(payload, since), payload.limit)
    conditions = _owned(payload.user_id, checkpoints=payload.checkpoints)
    conditions += _asked(payload, ProgramVersion)
    conditions += _between(_saved_at, _id, payload.after, since)
    if payload.signature is not None:
        conditions.append(_signature == payload.signature)
    if payload.tags:
        conditions.append(_carries(payload.tags))
    return _page(select(_id).where(*conditions).order_by(*_NEWEST_FIRST), payload.limit)


def listed(payload: List) -> Select[Any]:
    """Return the statement for a page of everything, and one row more if there is more."""
    conditions = _owned(payload.user_id, checkpoints=payload.checkpoints)
    conditions += _between(_saved_at, _id, payload.after, None)
    return _page(select(_id).where(*conditions).order_by(*_NEWEST_FIRST), payload.limit)


def best(payload: Best) -> SelectOfScalar[ProgramVersion]:
    """Return the statement for the version of the highest score, the newest of equals.

    Raises Refused if neither a program nor a signature is named.
    """
    if payload.program is None and payload.signature is None:
        raise Refused("best of what? give a program or a signature")
    conditions = [
        *_owned(payload.user_id, checkpoints=payload.checkpoints),
        _score.is_not(None),
    ]
    if payload.program is not None:
        conditions.append(_program == payload.program)
    if payload.signature is not None:
        conditions.append(_signature == payload.signature)
    return sqlmodel.select(ProgramVersion).where(*conditions).order_by(*_BEST_FIRST).limit(1)


def summaries(versions: FromClause) -> Select[Any]:
    """Return the statement for the summaries of versions, in any order."""
    columns = [versions.c[name] for name in _SHOWN_WHOLE]
    description = func.left(versions.c.description, DESCRIPTION_SHOWN).label("description")
    return select(*columns, description, _in_use(versions).label("active"))


def _owned(user_id: str | None, *, checkpoints: bool) -> list[ColumnElement[bool]]:
    # `= NULL` is written IS NULL; IS NOT DISTINCT FROM, which takes both, uses no index.
    owned: list[ColumnElement[bool]] = [_user_id == user_id]
    return owned if checkpoints else [*owned, _checkpoint.is_(None)]


def _asked(
    payload: Find, table: type[ProgramVersion] | type[VersionTag]
) -> list[ColumnElement[bool]]:
    """What is asked of columns that a version and its tags both have."""
    conditions: list[ColumnElement[bool]] = []
    if payload.program is not None:
        conditions.append(col(table.program) == payload.program)
    if payload.optimizer is not None:
        conditions.append(col(table.optimizer) == payload.optimizer)
    if payload.min_score is not None:
        conditions.append(col(table.score) >= payload.min_score)
    return conditions


def _tagged(payload: Find, since: datetime | None) -> Select[Any]:
    """Order the ids of versions with all the tags; the planner may begin with the rarest."""
    wanted = sorted(set(payload.tags))
    first, *others = [aliased(VersionTag) for _ in wanted[:JOINED_TAGS]]
    saved_at, version_id = col(first.saved_at), col(first.version_id)
    order = select(version_id).where(*_asked(payload, first))
    order = order.where(*_between(saved_at, version_id, payload.after, since))
    for each, tag in zip([first, *others], wanted, strict=False):
        order = order.where(col(each.user_id) == (payload.user_id or ""), col(each.tag) == tag)
    for each in others:
        order = order.where(col(each.version_id) == version_id)
    of_the_row = [] if payload.signature is None else [_signature == payload.signature]
    if len(wanted) > JOINED_TAGS:
        of_the_row.append(_carries(wanted))
    if of_the_row:
        owned = _owned(payload.user_id, checkpoints=False)
        order = order.where(_id == version_id, *owned, *of_the_row)
    return order.order_by(saved_at.desc(), version_id.desc())


def _carries(tags: Sequence[str]) -> ColumnElement[bool]:
    wanted = bindparam("tags", list(tags), type_=ARRAY(Text))
    return col(ProgramVersion.tags).op("@>", is_comparison=True)(wanted)


def _between(
    saved_at: Any, version_id: Any, after: Cursor | None, since: datetime | None
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [] if since is None else [saved_at >= since]
    if after is not None:
        position = tuple_(
            literal(after.saved_at, DateTime(timezone=True)), literal(after.program_id, Uuid)
        )
        conditions.append(tuple_(saved_at, version_id) < position)
    return conditions


def _page(order: Select[Any], limit: int) -> Select[Any]:
    # What the order needs comes out of an index alone; rows are read for those shown.
    ids = order.limit(limit + 1).correlate(None)
    rows = select(*COLUMNS).where(_id.in_(ids)).subquery("page")
    return summaries(rows).order_by(rows.c.saved_at.desc(), rows.c.id.desc())


def _in_use(versions: FromClause) -> ColumnElement[bool]:
    """Whether a version's own owner has it in use; IS NOT DISTINCT FROM would use no index."""
    owner = col(ActiveProgram.user_id)
    this = and_(
        col(ActiveProgram.program) == versions.c.program,
        col(ActiveProgram.version_id) == versions.c.id,
    )
    own = exists().where(owner == versions.c.user_id, this)
    shared = exists().where(owner.is_(None), this)
    return or_(own, and_(versions.c.user_id.is_(None), shared))
