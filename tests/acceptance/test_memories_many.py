"""Many memories at once, from the client through the queue to a real worker and back."""

from bespoke_client import Client, memories
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS


def test_many_memories_are_stored_at_once(client: Client, start_worker: StartWorker) -> None:
    start_worker("memories,reads")
    texts = ("Has a black cat", "Likes green tea", "has a BLACK cat")
    payload = memories.StoreMany(
        user_id="ada", memories=tuple(memories.NewMemory(content=one) for one in texts)
    )

    first, again = (client.enqueue(payload).result(SECONDS) for _ in range(2))

    assert first == again
    assert [one.outcome for one in first.stored] == ["merged", "inserted", "merged"]
    assert first.count == 2
    listed = client.enqueue(memories.List(user_id="ada")).result(SECONDS)
    assert [one.content for one in listed.memories] == [texts[2], texts[1]]
