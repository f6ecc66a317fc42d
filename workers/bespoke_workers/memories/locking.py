"""One user's space held by one transaction, and the job in it done once."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from bespoke_schemas import Payload
from bespoke_schemas.payload import ResultT
from bespoke_workers.database import once
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Transient
from bespoke_workers.memories import statements
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.space import NEVER

T = TypeVar("T")

BEING_ERASED = "the user's memories are being erased; the job is done after that"


class _AbsentError(Exception):
    """There is no space, so nothing is locked, and what was begun must not stay."""


async def make(connection: Connection, user_id: str, embedder: Embedder, job_id: UUID) -> None:
    """Make a user's space if there is none; raises Refused for a job from before an erasure."""
    created = {
        "id": job_id,
        "user_id": user_id,
        "embedder": embedder.name,
        "dim": embedder.dim,
        "never": NEVER,  # without an access, nothing is low
    }
    await connection.execute(statements.CREATE_SPACE, created)


async def lock(connection: Connection, user_id: str) -> bool:
    """Let nobody else change a user's memories until the transaction ends; False without a space.

    Whoever is told False holds nothing. A space that another worker makes the moment after may
    be read, and is not to be written by what was read of it.
    """
    held = await connection.execute(statements.LOCK_SPACE, {"user_id": user_id})
    return held.first() is not None


async def make_and_lock(
    connection: Connection, user_id: str, embedder: Embedder, job_id: UUID
) -> None:
    """Make a user's space if there is none, and lock it until the transaction ends.

    Raises Refused for a job from before an erasure, Transient in the middle of one.
    """
    await make(connection, user_id, embedder, job_id)
    if not await lock(connection, user_id):
        raise Transient(BEING_ERASED)


async def locked(
    database: Database,
    payload: Payload[ResultT],
    user_id: str,
    effect: Callable[[Connection], Awaitable[T]],
    absent: Callable[[Connection], Awaitable[T]],
) -> T | ResultT:
    """Do ``effect`` while the user's space is locked; if the job was done, return its result.

    Without a space it is ``absent`` that is done. Either writes the job's result.
    """
    async with database.direct_transaction() as connection:
        is_held = await _begin(connection, payload, user_id)
        if is_held is not None:
            return await (effect if is_held else absent)(connection)
    return await _recorded(database, payload)


async def made_and_locked(
    database: Database,
    payload: Payload[ResultT],
    user_id: str,
    embedder: Embedder,
    effect: Callable[[Connection], Awaitable[T]],
) -> T | ResultT:
    """Do ``effect`` while the user's space is locked, which is made first if there is none.

    Where the effect fails, no space is left. Raises Refused for a job from before an erasure,
    Transient in the middle of one.
    """

    async def absent(connection: Connection) -> T:
        raise _AbsentError

    try:
        return await locked(database, payload, user_id, effect, absent)
    except _AbsentError:  # what was begun is undone: the space comes first
        pass
    async with database.direct_transaction() as connection:
        await make_and_lock(connection, user_id, embedder, payload.id)
        if await _begin(connection, payload, user_id) is not None:
            return await effect(connection)
    return await _recorded(database, payload)


async def _begin(connection: Connection, payload: Payload[Any], user_id: str) -> bool | None:
    """Lock the space and begin the job: whether there is a space, None if the job was done.

    In this order, as the guarded statement of a store does it: the other way round, two
    deliveries of one job could wait for each other.
    """
    begun = {
        "user_id": user_id,
        "id": payload.id,
        "task": payload.task,
        "subject": payload.subject(),
    }
    row = (await connection.execute(statements.LOCK_AND_BEGIN, begun)).first()
    return None if row is None else row.is_held


async def _recorded(database: Database, payload: Payload[ResultT]) -> ResultT:
    async with database.transaction() as session:
        return await once.recorded(session, payload)
