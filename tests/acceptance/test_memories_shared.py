"""Shared spaces, from the client through the queue to a real worker."""

import pytest

from bespoke_client import Client, JobFailed, memories
from bespoke_schemas import uuid7
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS


def test_users_share_a_space_once_they_have_joined_it(
    client: Client, start_worker: StartWorker
) -> None:
    start_worker("memories,reads")
    said = memories.Store(user_id="ada", space="crew", content="The keys hang by the door")
    with pytest.raises(JobFailed, match=r"enqueue memories\.Join"):
        client.enqueue(said).result(SECONDS)
    for user_id in ("ada", "bob"):
        joined = client.enqueue(memories.Join(user_id=user_id, space="crew")).result(SECONDS)

    again = memories.Store(user_id="bob", space="crew", content="the keys hang by the door")
    for store in (said.model_copy(update={"id": uuid7()}), again):
        stored = client.enqueue(store).result(SECONDS)

    assert joined.members == ("ada", "bob")
    assert (stored.outcome, stored.count) == ("merged", 1)
    look = memories.Search(user_id="ada", space="crew", query="Where are the keys?")
    (match,) = client.enqueue(look).result(SECONDS).matches
    assert match.memory.metadata == {"said_by": "bob"}
