"""One user's space held by one transaction, and the job in it done once."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas import Payload
from bespoke_schemas.payload import ResultT
from bespoke_workers.database import once
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import statements
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.space import NEVER

T = TypeVar("T")


async def make_and_lock(connection: AsyncConnection, user_id: str, embedder: Embedder) -> None:
    """Make a user's space if there is none, and lock it until the transaction ends."""
    created = {
        "user_id": user_id,
        "embedder": embedder.name,
        "dim": embedder.dim,
        "never": NEVER,  # without an access, nothing is low
    }
    await connection.execute(statements.CREATE_SPACE, created)
    await connection.execute(statements.LOCK_SPACE, {"user_id": user_id})


async def locked(
    database: Database,
    payload: Payload[ResultT],
    user_id: str,
    effect: Callable[[AsyncConnection], Awaitable[T]],
) -> T | ResultT:
    """Do ``effect`` while the user's space is locked; if the job was done, return its result.

    ``effect`` writes the job's result. The space is locked first and the job begun second, as
    the guarded statement of a store does it: the other way round, two deliveries of one job
    could wait for each other.
    """
    async with database.transaction() as session:
        connection = await session.connection()
        await connection.execute(statements.LOCK_SPACE, {"user_id": user_id})
        if not await once.begin(session, payload):
            return await once.recorded(session, payload)
        return await effect(connection)
