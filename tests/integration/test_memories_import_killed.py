"""An import whose worker is killed goes on with the page that was not committed."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bespoke_schemas.ids import uuid7
from tests.integration.memory_workers import query
from tests.integration.test_bundles_killed import killed_at
from tests.integration.test_memories_compaction import word
from tests.integration.test_memories_many import assert_consistent
from tests.nodes.waiting import SECONDS

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

    def command(stop_at: int) -> list[str]:
        arguments = [database_url, tmp_path.as_uri(), job_id, "in.jsonl", str(stop_at)]
        return [sys.executable, "-m", "tests.integration.importing", *arguments]

    def ask(sql: str) -> list[object]:
        return [tuple(row) for row in asyncio.run(query(database_url, sql))]

    job_id = str(uuid7())
    killed_at(command(page))

    assert ask("SELECT count(*) FROM memory") == [(min((page - 1) * 10, TOTAL),)]
    assert ask("SELECT state, result -> 'done' FROM job") == [("accepted", (page - 1) * 10)]

    subprocess.run(command(0), check=True, capture_output=True, timeout=SECONDS)
    assert ask("SELECT count(*), sum(access_count) FROM memory") == [(TOTAL - 1, TOTAL - 1)]
    assert ask("SELECT state, result -> 'imported_count', result -> 'present_count' FROM job") == [
        ("done", TOTAL - 1, 1)
    ]
    asyncio.run(assert_consistent(database_url))
