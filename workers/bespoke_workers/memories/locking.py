"""One user's space held by one transaction, and the job in it done once."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from bespoke_schemas import Payload
from bespoke_schemas.payload import ResultT
from bespoke_workers.database import once
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import statements
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.space import NEVER

T = TypeVar("T")


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


async def make_and_lock(
    connection: Connection, user_id: str, embedder: Embedder, job_id: UUID
) -> None:
    """Make a user's space if there is none, and lock it until the transaction ends."""
    await make(connection, user_id, embedder, job_id)
    await connection.execute(statements.LOCK_SPACE, {"user_id": user_id})


async def locked(
    database: Database,
    payload: Payload[ResultT],
    user_id: str,
    effect: Callable[[Connection], Awaitable[T]],
) -> T | ResultT:
    """Do ``effect`` while the user's space is locked; if the job was done, return its result.

    ``effect`` writes the job's result. The space is locked first and the job begun second, as
    the guarded statement of a store does it: the other way round, two deliveries of one job
    could wait for each other.
    """
    begun = {
        "user_id": user_id,
        "id": payload.id,
        "task": payload.task,
        "subject": payload.subject(),
    }
    async with database.direct_transaction() as connection:
        if (await connection.execute(statements.LOCK_AND_BEGIN, begun)).first() is not None:
            return await effect(connection)
    async with database.transaction() as session:
        return await once.recorded(session, payload)
