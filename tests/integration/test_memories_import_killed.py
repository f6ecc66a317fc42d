"""An import whose worker is killed goes on with the page that was not committed."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from bespoke_schemas.memories import Import
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.policy import DEFAULT
from bespoke_workers.memories.store import Memories
from bespoke_workers.storage.places import Storage
from tests.integration.memory_workers import CACHE_BYTES, LEXICAL, opened, query
from tests.integration.record_files import bring_in
from tests.integration.test_bundles_killed import killed_at
from tests.integration.test_memories_compaction import word
from tests.integration.test_memories_many import assert_consistent

TOTAL = 45


@pytest.mark.parametrize("page", [1, 3, 5])
def test_a_killed_import_neither_loses_nor_doubles_anything(
    database_url: str, tmp_path: Path, page: int
) -> None:
    lines = [
        json.dumps({"content": word(number), "access_count": 1, "tags": ["x"]})
        for number in (*range(TOTAL - 1), 0)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))

    async def deliver_twice() -> None:
        async with opened(database_url) as database:
            cache, storage = IndexCache(CACHE_BYTES), Storage(tmp_path.as_uri())
            memories = Memories(database, LEXICAL, DEFAULT, cache, storage=storage)
            for _ in range(2):
                await bring_in(memories, payload)

    def ask(sql: str) -> list[object]:
        return [tuple(row) for row in asyncio.run(query(database_url, sql))]

    payload = Import(user_id="ada", source="in.jsonl")
    arguments = [database_url, tmp_path.as_uri(), str(payload.id), payload.source, str(page)]
    killed_at([sys.executable, "-m", "tests.integration.importing", *map(str, arguments)])

    assert ask("SELECT count(*) FROM memory") == [(min((page - 1) * 10, TOTAL),)]
    assert ask("SELECT state, result -> 'done' FROM job") == [("accepted", (page - 1) * 10)]

    asyncio.run(deliver_twice())
    assert ask("SELECT count(*), sum(access_count) FROM memory") == [(TOTAL - 1, TOTAL - 1)]
    assert ask("SELECT state, result -> 'imported_count', result -> 'present_count' FROM job") == [
        ("done", TOTAL - 1, 1)
    ]
    asyncio.run(assert_consistent(database_url))
