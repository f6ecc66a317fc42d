"""Policies, compaction and the archive, from the client through the queue to a real worker."""

from bespoke_client import Client, memories
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS

CONTENTS = ("Has a black cat", "Likes green tea", "Lives in Turin", "Plays the cello", "Runs daily")


def test_memories_are_compacted_listed_and_restored(
    client: Client, start_worker: StartWorker
) -> None:
    start_worker("memories,reads")
    for content in CONTENTS:
        client.enqueue(memories.Store(user_id="ada", content=content)).result(SECONDS)
    lower = memories.SetPolicy(user_id="ada", max_memories=4)
    in_force = client.enqueue(lower).result(SECONDS)
    assert (in_force.max_memories, in_force.preset) == (4, None)
    assert client.enqueue(memories.GetPolicy(user_id="ada")).result(SECONDS) == in_force

    compact = memories.Compact(user_id="ada")
    first, again = (client.enqueue(compact).result(SECONDS) for _ in range(2))
    assert first == again
    assert first.size_compaction is not None
    assert (first.total_compacted, first.size_compaction.after_count) == (2, 3)
    (run,) = client.enqueue(memories.ListCompactions(user_id="ada")).result(SECONDS).runs
    assert (run.id, run.report) == (compact.id, first)
    archived = client.enqueue(memories.ListArchived(user_id="ada", run_id=run.id)).result(SECONDS)
    assert {one.memory.content for one in archived.archived} == set(CONTENTS[:2])

    restored = client.enqueue(memories.Restore(user_id="ada", run_id=run.id)).result(SECONDS)
    assert restored.restored_count == 1
    assert [skipped.reason for skipped in restored.skipped] == ["full"]
    assert client.enqueue(memories.Count(user_id="ada")).result(SECONDS).count == 4
