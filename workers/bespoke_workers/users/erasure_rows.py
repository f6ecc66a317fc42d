"""Erasing in the database: every row of a user, and the user in the rows of others.

Every table with a column ``user_id`` is swept, whoever added it; ``NAMING_NOBODY`` says of all
others why there is nothing in them, or what else sees to it.
"""

import json
from collections import Counter
from typing import Final
from uuid import UUID

from sqlalchemy import Table, delete
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import payload_type
from bespoke_schemas.exports import EraseUser
from bespoke_schemas.fields import SHARED
from bespoke_schemas.memories import Compact
from bespoke_schemas.memories.sharing import shared_owner
from bespoke_schemas.optimization import OptimizeTier
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import statements
from bespoke_workers.memories.space import NEVER
from bespoke_workers.users import erasure_record
from bespoke_workers.users import erasure_statements as sql
from bespoke_workers.users.naming import GONE, quoted, without

OWNERS_AT_ONCE: Final = 500
"""Shared spaces that one statement looks through."""
ERASED_ANSWER: Final = "its result was about a user who was erased"

NAMING_NOBODY: Final = {
    "activation": "names a pointer, and goes with it",
    "batch": "names the last user planned, whom MOVE_MARKS replaces",
    "compaction_round": "names the last user planned, whom MOVE_MARKS replaces",
    "delivery": "names a job, and goes before it by DELIVERIES",
    "embedder_target": "is of everybody",
    "erasure": "knows a user by a hash",
}
"""Tables without a column ``user_id``, and why nothing of a user stays in them."""


def tables() -> list[Table]:
    """Return the tables that have rows of users, those that refer to others first."""
    known = SQLModel.metadata.sorted_tables
    return [table for table in reversed(known) if "user_id" in table.columns]


async def leave_spaces(database: Database, payload: EraseUser) -> None:
    """End the user's memberships, and fence each shared space that nobody shares any more."""
    async with database.transaction() as session:
        row = await erasure_record.held(session, payload)
        if row is None:
            return
        connection = await session.connection()
        whose = {"user_id": payload.user_id}
        await connection.execute(sql.HOLD_MEMBERS, whose)
        left = (await connection.execute(sql.LEAVE_SPACES, whose)).scalars().all()
        ended = await connection.execute(sql.EMPTY_SPACES, {"owners": list(left)})
        owners = {shared_owner(space) for space in ended.scalars()}
        row.ending = sorted({*row.ending, *owners})
        erasure_record.add(session, row, {"space_member": len(left)})
        await session.flush()
        for owner in sorted(owners):
            fenced = {"space": owner, "subject": payload.subject()}
            await connection.execute(sql.FENCE_SPACE, fenced)


async def owners_ending(database: Database, payload: EraseUser) -> list[str]:
    """Return the owners of the shared spaces that end with the user."""
    async with database.transaction() as session:
        row = await erasure_record.held(session, payload)
        return [] if row is None else list(row.ending)


async def sweep(database: Database, payload: EraseUser, optimizations: set[UUID]) -> int:
    """Erase all rows there are by now, and return how many that were.

    Adds to ``optimizations`` whose language models' answers may still lie on machines.
    """
    total = 0
    for user_id in (payload.user_id, *await owners_ending(database, payload)):
        async with database.transaction() as session:
            row = await erasure_record.held(session, payload)
            if row is None:
                return 0
            found = await _own(session, user_id, optimizations)
            erasure_record.add(session, row, found)
        total += found.total()
    async with database.transaction() as session:
        row = await erasure_record.held(session, payload)
        if row is None:
            return 0
        found = await _named(session, payload.user_id)
        erasure_record.add(session, row, found)
    return total + found.total() + await _said(database, payload)


async def _own(session: AsyncSession, user_id: str, optimizations: set[UUID]) -> Counter[str]:
    """Delete the rows of one user, or of the owner of a shared space."""
    connection, whose = await session.connection(), {"user_id": user_id}
    for mark in sql.MOVE_MARKS:
        await connection.execute(mark, whose)
    runs = (await connection.execute(sql.OPTIMIZATIONS, whose)).scalars()
    optimizations.update(UUID(bytes=one.bytes) for one in runs)
    await connection.execute(sql.RAISE_FLOOR, whose)
    found: Counter[str] = Counter()
    found["delivery"] = (await connection.execute(sql.DELIVERIES, whose)).rowcount
    for table in tables():
        gone = await connection.execute(delete(table).where(table.c.user_id == user_id))
        found[table.name] += gone.rowcount
    return +found


async def _named(session: AsyncSession, user_id: str) -> Counter[str]:
    """Take the user out of the results of others' jobs."""
    connection = await session.connection()
    sought = {"tasks": [OptimizeTier.task, Compact.task], "quoted": list(quoted(user_id))}
    found: Counter[str] = Counter()
    for row in (await connection.execute(sql.NAMING, sought)).all():
        held = (await connection.execute(sql.HOLD_RESULT, {"id": row.id})).first()
        left = None if held is None else without(held.result, user_id)
        if held is None or left == held.result:
            continue
        found["results_of_others"] += 1
        if left is GONE or not _is_result(row.task, left):
            forgotten = {"id": row.id, "reason": ERASED_ANSWER}
            await connection.execute(sql.FORGET_RESULT, forgotten)
        else:
            rewritten = {"id": row.id, "result": json.dumps(left)}
            await connection.execute(sql.REWRITE, rewritten)
    return found


def _is_result(task: str, result: object) -> bool:
    kind = payload_type(task)
    try:
        return kind is not None and bool(kind.result_type.model_validate(result))
    except ValueError:
        return False


async def _said(database: Database, payload: EraseUser) -> int:
    """Delete what the user said in spaces that others share."""
    total, after = 0, ""
    while True:
        async with database.transaction() as session:
            row = await erasure_record.held(session, payload)
            if row is None:
                return total
            connection = await session.connection()
            page = {"mark": SHARED, "after_owner": after, "limit": OWNERS_AT_ONCE}
            owners = (await connection.execute(sql.SHARED_SPACES, page)).scalars().all()
            sought = {"owners": list(owners), "user_id": payload.user_id}
            found: Counter[str] = Counter()
            for owner in sorted((await connection.execute(sql.SAID, sought)).scalars()):
                found += await _unsay(session, owner, payload.user_id)
            erasure_record.add(session, row, found)
        total += found.total()
        if len(owners) < OWNERS_AT_ONCE:
            return total
        after = owners[-1]


async def _unsay(session: AsyncSession, owner: str, user_id: str) -> Counter[str]:
    connection, whose = await session.connection(), {"space": owner, "user_id": user_id}
    locked = await connection.execute(sql.LOCK_SHARED, {"space": owner})
    version = locked.scalar_one_or_none()
    if version is None:  # it has just ended with its last member, and all that was in it
        return Counter()
    gone = (await connection.execute(sql.UNSAY, whose)).scalars().all()
    archived = (await connection.execute(sql.UNSAY_ARCHIVED, whose)).rowcount
    await connection.execute(sql.UNSAY_EMBEDDINGS, {"space": owner, "ids": list(gone)})
    forgotten = {"space": owner, "ids": list(gone), "reason": ERASED_ANSWER}
    await connection.execute(sql.UNSAY_ANSWERS, forgotten)
    recounted = {"user_id": owner, "version": version + 1, "never": NEVER}
    await connection.execute(statements.RECOUNT, recounted)
    await connection.execute(sql.RELOAD, {"space": owner})
    return Counter({"said_in_shared_spaces": len(gone), "said_and_archived": archived})
