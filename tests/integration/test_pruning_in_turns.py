"""Old records go however many there are: a short job deletes some, and asks for the next one."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from bespoke_schemas import uuid7
from bespoke_workers.database import retention
from bespoke_workers.memories import pruning
from bespoke_workers.memories.safeguard import FOLDER
from bespoke_workers.runtime import Runtime
from bespoke_workers.settings import Settings
from bespoke_workers.tasks import upkeep
from tests.integration.databases import opened, rows
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import RecordingOutbox

OLD = "now() - interval '400 days'"
JOBS = f"""
    INSERT INTO job (id, task, state, finished_at)
    SELECT gen_random_uuid(), 'a', 'done', {OLD} FROM generate_series(1, 5)
"""
ROUND = f"""
    INSERT INTO compaction_round (id, asked, state, planned_through, finished_at)
    SELECT gen_random_uuid(), '{{}}', 'done', '', {OLD} FROM generate_series(1, 3)
"""
PARTS = """
    INSERT INTO compaction_part (round_id, user_id, job_id, state)
    SELECT id, 'user-' || n, gen_random_uuid(), 'done'
    FROM compaction_round CROSS JOIN generate_series(1, 3) AS n
"""
RUNS = f"""
    INSERT INTO compaction_run (id, user_id, report, at)
    SELECT gen_random_uuid(), 'ada', '{{}}', {OLD} FROM generate_series(1, 5)
"""
LEFT = """
    SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM compaction_round)
        + (SELECT count(*) FROM compaction_part) + (SELECT count(*) FROM compaction_run)
"""
OLD_ID = "00000000-0000-7000-8000-00000000000"
"""Version 7, of the first moment of its clock."""


@in_loop
async def test_more_than_one_turn_deletes_is_deleted_by_the_next_ones(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    monkeypatch.setattr(pruning, "PAGE", 2)
    monkeypatch.setattr(upkeep, "PRUNE_SECONDS", 0.0)
    outbox = RecordingOutbox()
    config = Settings(database_url=SecretStr(database_url), home=tmp_path)
    files = tmp_path / "storage" / FOLDER / "of-ada"
    files.mkdir(parents=True)
    for number in range(3):
        (files / f"{OLD_ID}{number}.jsonl.gz").write_bytes(b"")
    kept = files / f"{uuid7()}.jsonl.gz"
    kept.write_bytes(b"")
    this = Runtime(config, outbox)
    async with opened(database_url) as database, database.transaction() as session:
        for statement in (JOBS, ROUND, PARTS, RUNS):
            await (await session.connection()).exec_driver_sql(statement)
    async with opened(database_url) as database:
        left, turns = (await rows(database, LEFT))[0][0], 0
        assert left == 22
        while outbox.calls_for_pruning == turns:
            await upkeep.prune(this)
            turns += 1
            now_left = (await rows(database, LEFT))[0][0]
            assert now_left < left
            left = now_left
        assert left == 0
    assert turns > 3
    assert outbox.calls_for_pruning == turns - 1
    assert list(files.iterdir()) == [kept]
    await this.database.close()
