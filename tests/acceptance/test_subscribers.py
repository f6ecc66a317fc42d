"""An application's subscribers hear of what a worker of memories removed."""

import json
from pathlib import Path

from bespoke_client import Client, memories
from bespoke_workers.observe import events
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS

ROOT = Path(__file__).resolve().parents[2]


def test_a_worker_of_memories_alone_tells_the_application_s_subscribers(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    env = {
        # The first one cannot be imported, which keeps nobody's memories from being stored.
        "BESPOKE_PROGRAMS": "tests.not_there,tests.subscribing",
        "BESPOKE_MAX_MEMORIES": "2",
        "BESPOKE_EXPORT_BEFORE_SHARE": "0.5",
        "BESPOKE_STORAGE_URL": tmp_path.as_uri(),
        "PYTHONPATH": str(ROOT),
        "TOLD": str(told),
    }
    start_worker("memories", concurrency=1, env=env)
    for content in ("Has a black cat", "Likes green tea", "Lives in Turin"):
        stored = client.enqueue(memories.Store(user_id="ada", content=content)).result(SECONDS)

    (event,) = [json.loads(line) for line in told.read_text().splitlines()]
    assert event["user"] == events.hashed("ada")
    assert (event["removed_count"], event["after_count"]) == (2, 1)
    assert event["exported_to"] == stored.compaction.exported_to
    (exported,) = tmp_path.rglob("*.gz")
    assert exported.as_uri() == event["exported_to"]
    assert stored.compaction.total_compacted == 2
