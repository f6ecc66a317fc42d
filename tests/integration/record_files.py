"""What the tests of record files share: workers with files in a directory, and files by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bespoke_schemas.memories import (
    Import,
    Imported,
    Search,
    Store,
)
from bespoke_workers.database.engine import Database
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.store import Memories
from bespoke_workers.storage.places import Storage
from tests.integration.memory_workers import (
    CACHE_BYTES,
    LEXICAL,
    Clock,
    installed,
    opened,
    query,
    remember,
)

SECRET = "the card of ada was lost"


FILE = "ada.jsonl.gz"


@asynccontextmanager
async def side(
    url: str, storage: Path, policy: Policy = DEFAULT, embedder: Embedder = LEXICAL
) -> AsyncIterator[Memories]:
    """Start what a worker has, with files in a directory."""
    async with opened(url) as database:
        yield on(database, storage, policy, embedder)


def on(
    database: Database, storage: Path, policy: Policy = DEFAULT, embedder: Embedder = LEXICAL
) -> Memories:
    storage.mkdir(exist_ok=True)
    files, cache = Storage(storage.as_uri()), IndexCache(CACHE_BYTES)
    return Memories(database, embedder, policy, cache, Clock(), load_older=installed, storage=files)


async def bring_in(memories: Memories, payload: Import) -> Imported:
    """Deliver an import until it is done, as its queue does."""
    for _ in range(1000):
        imported = await memories.import_(payload)
        if imported is not None:
            return imported
    raise AssertionError("the import does not end")


def put(storage: Path, *lines: dict[str, Any] | bytes, name: str = "in.jsonl") -> str:
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (storage / name).write_bytes(b"\n".join([*encoded, b""]))
    return name


async def rows(url: str, user_id: str = "ada") -> list[dict[str, Any]]:
    """Return a user's memories, all that is kept of them but what differs by place."""
    found = await query(
        url,
        "SELECT id, content, kind, tags, meta, facts, access_count, last_accessed_at, created_at, "
        "updated_at, renewed_at FROM memory WHERE user_id = :user ORDER BY id",
        user=user_id,
    )
    return [dict(row._mapping) for row in found]


async def filled(memories: Memories) -> None:
    """Remember things with all that a memory can have."""
    await memories.store(
        Store(user_id="ada", content="Prefers “dark” mode", tags=("ui", "a"), metadata={"n": [1]})
    )
    await memories.store(Store(user_id="ada", content="Has a black cat", kind="pet"))
    await remember(memories, "ada", "Lives in Turin\nand likes it")
    await memories.search(Search(user_id="ada", query="a cat", limit=1))
    await remember(memories, "ada", "prefers “dark” mode")
    await remember(memories, "bob", SECRET)
