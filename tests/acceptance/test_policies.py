"""Rules of an application's own, from its settings and its module, in a real worker."""

import json
from pathlib import Path

from bespoke_client import Client, memories
from bespoke_schemas import uuid7
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS, wait_until

SCORING = """
import bespoke_workers

@bespoke_workers.scoring("venerable")
def oldest_are_worth_most(access_count: int, most_accessed: int, age_days: float) -> float:
    return age_days
"""
SMALLTALK = ("ash", "birch", "cedar", "dogwood", "elm", "fir")
FACTS = ("granite", "jasper", "marble", "onyx", "quartz", "slate")


def test_kinds_background_compaction_and_a_scoring_of_the_applications_own(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    (tmp_path / "our_scoring.py").write_text(SCORING)
    env = {
        "PYTHONPATH": str(tmp_path),
        "BESPOKE_PROGRAMS": "our_scoring",
        "BESPOKE_SCORING": "venerable",
        "BESPOKE_COMPACTION": "background",
        "BESPOKE_KIND_POLICIES": json.dumps({"smalltalk": {"max_memories": 5}}),
    }
    start_worker("memories,reads", env=env)
    policy = client.enqueue(memories.GetPolicy(user_id="ada")).result(SECONDS)
    assert (policy.scoring, policy.compaction) == ("venerable", "background")
    assert policy.kinds["smalltalk"].max_memories == 5

    for kind, contents in (("smalltalk", SMALLTALK), ("fact", FACTS)):
        for content in contents:
            store = memories.Store(user_id="ada", content=content, kind=kind)
            client.enqueue(store).result(SECONDS)
    compactions = memories.ListCompactions(user_id="ada")
    wait_until(
        lambda: client.enqueue(compactions.model_copy(update={"id": uuid7()})).result(SECONDS).runs,
        "the compaction in the background is done",
    )
    assert held(client) == {*SMALLTALK[2:], *FACTS}

    client.enqueue(memories.Search(user_id="ada", query="elm", limit=1)).result(SECONDS)
    forced = client.enqueue(memories.Compact(user_id="ada", force=True)).result(SECONDS)
    assert forced.relevance_pruning is not None
    assert held(client) == {*SMALLTALK[2:], *FACTS[:-2]}


def held(client: Client) -> set[str]:
    listed = client.enqueue(memories.List(user_id="ada")).result(SECONDS)
    return {one.content for one in listed.memories}
