"""Archived memories whose embeddings are of an earlier embedder than their space's."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import Restore
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Transient
from bespoke_workers.memories import reembedding_statements
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import to_bytes

PAGE = 64
"""Texts that are embedded in one call: what a provider takes at once, however long they are."""

Renewed = Mapping[UUID, bytes]
"""Embeddings as they are stored, by the ids of rows of the archive."""


async def embedded_anew(database: Database, embedder: Embedder, payload: Restore) -> Renewed:
    """Embed what is outdated of what is to be restored, outside of any transaction."""
    async with database.autocommit() as connection:
        outdated = await _outdated(connection, payload)
    renewed: dict[UUID, bytes] = {}
    ids = list(outdated)
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        vectors = embedder.embed([outdated[one] for one in page])
        renewed.update(zip(page, map(to_bytes, vectors), strict=True))
    return renewed


async def renew(connection: AsyncConnection, payload: Restore, renewed: Renewed) -> None:
    """Give what is outdated its new embedding, in a transaction that locks the space.

    Raises Transient if anything outdated has none.
    """
    outdated = await _outdated(connection, payload)
    if not outdated.keys() <= renewed.keys():
        raise Transient("the embedder changed meanwhile; the job is done again")
    if outdated:
        parameters = {
            "user_id": payload.user_id,
            "ids": list(outdated),
            "embeddings": [renewed[one] for one in outdated],
        }
        await connection.execute(reembedding_statements.RENEW_ARCHIVED, parameters)


async def _outdated(connection: AsyncConnection, payload: Restore) -> dict[UUID, str]:
    sought = {
        "user_id": payload.user_id,
        "run_id": payload.run_id,
        "memory_id": payload.memory_id,
    }
    rows = await connection.execute(reembedding_statements.READ_OUTDATED, sought)
    return {row.id: row.content for row in rows}
