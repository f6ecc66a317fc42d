"""Taking memories out and bringing them in, from the client to real workers and back."""

import json
from pathlib import Path

import pytest

from bespoke_client import Client, JobFailed, memories
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS

TEXTS = ("Has a black cat", "Likes green tea", "Lives in Turin")


def test_memories_go_out_and_come_in(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker(env={"BESPOKE_STORAGE_URL": tmp_path.as_uri()})
    together = tuple(memories.NewMemory(content=one, tags=("x",)) for one in TEXTS)
    client.enqueue(memories.StoreMany(user_id="ada", memories=together)).result(SECONDS)
    exported = client.enqueue(memories.Export(user_id="ada", name="ada.jsonl")).result(SECONDS)
    assert (exported.count, exported.url) == (3, f"{tmp_path.as_uri()}/ada.jsonl")
    client.enqueue(memories.Clear(user_id="ada")).result(SECONDS)

    back = memories.Import(user_id="ada", source="ada.jsonl")
    first, again = (client.enqueue(back).result(SECONDS) for _ in range(2))

    assert first == again
    assert (first.imported_count, first.count) == (3, 3)
    inline = client.enqueue(memories.Export(user_id="ada", inline=True)).result(SECONDS)
    assert {one.content for one in inline.records} == set(TEXTS)
    copy = memories.Import(user_id="eve", records=inline.records, rename_user=True)
    assert client.enqueue(copy).result(SECONDS).imported_count == 3
    with pytest.raises(JobFailed, match="line 1: user_id: it is another user's"):
        client.enqueue(memories.Import(user_id="eve", source="ada.jsonl")).result(SECONDS)


def test_a_long_import_lets_others_have_their_turn(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Each embedding takes so long that an import goes back to its queue after every page."""
    start_worker(
        "memories,reads",
        concurrency=1,
        env={
            "BESPOKE_STORAGE_URL": tmp_path.as_uri(),
            "BESPOKE_MAX_MEMORIES": "600",
            "BESPOKE_EMBEDDER": "tests.slow_embedder:embed",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        },
    )
    lines = (json.dumps({"content": f"the fact of {number}"}) for number in range(700))
    (tmp_path / "long.jsonl").write_text("\n".join(lines))

    job = client.enqueue(memories.Import(user_id="ada", source="long.jsonl"))
    store = client.enqueue(memories.Store(user_id="ada", content="said in between"))

    assert store.result(SECONDS).count < 700
    imported = job.result(SECONDS)
    assert imported.imported_count == 700
    assert imported.compaction.size_compaction is not None
