"""Embeddings of what is to be restored: the archive has none."""

from collections.abc import Mapping
from uuid import UUID

from bespoke_schemas.memories import Restore
from bespoke_workers.database.engine import Database
from bespoke_workers.memories.archive_statements import READ_CONTENTS
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import to_bytes

PAGE = 64
"""Texts that are embedded in one call: what a provider takes at once, however long they are."""

Vectors = Mapping[UUID, bytes]
"""Embeddings as they are stored, by the ids of rows of the archive."""


async def embedded(database: Database, embedder: Embedder, payload: Restore) -> Vectors:
    """Embed all that may be restored, outside of any transaction."""
    sought = {
        "user_id": payload.user_id,
        "run_id": payload.run_id,
        "memory_id": payload.memory_id,
    }
    async with database.autocommit() as connection:
        rows = (await connection.execute(READ_CONTENTS, sought)).all()
    vectors: dict[UUID, bytes] = {}
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        made = embedder.embed([row.content for row in page])
        vectors.update(zip((row.id for row in page), map(to_bytes, made), strict=True))
    return vectors
