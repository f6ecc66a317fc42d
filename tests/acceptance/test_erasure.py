"""An erased user is nowhere any more, whatever was kept, under way or to come."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from bespoke_client import Client, JobCancelled, JobError, examples, exports, memories, optimization
from bespoke_schemas.payload import Payload, ResultT
from examples.support_desk.standin_lm import StandinLM
from tests.acceptance.everything import found, rows
from tests.acceptance.held_back import QUICK, HeldBack, ask
from tests.conftest import StartWorker
from tests.integration.optimizing import lessons
from tests.nodes.waiting import SECONDS, wait_until

ADA, SECRET = "ada-zèbre@example.com", "xylophone"
OF_BOB = {
    "memory": "user_id = 'bob' OR meta ->> 'said_by' = 'bob'",
    "memory_space": "user_id = 'bob'",
    "memory_archive": "user_id = 'bob'",
    "job": "user_id = 'bob'",
    "example": "user_id = 'bob'",
    "learner": "user_id = 'bob'",
    "program_version": "user_id = 'bob'",
    "active_program": "user_id = 'bob'",
    "space_member": "user_id = 'bob'",
    "optimization_job": "user_id = 'bob'",
}


def live(client: Client, user_id: str, word: str) -> None:
    """Leave something of a user in every place."""

    def do(payload: Payload[ResultT]) -> ResultT:
        return client.enqueue(payload).result(SECONDS)

    first = do(memories.Store(user_id=user_id, content=f"Plays the {word}", tags=(word,)))
    do(memories.Store(user_id=user_id, content=f"plays the {word}"))  # a duplicate
    do(memories.Update(user_id=user_id, memory_id=first.memory_id, metadata={word: word}))
    gone = do(memories.Store(user_id=user_id, content=f"Sold a piano for the {word}"))
    do(memories.Delete(user_id=user_id, memory_id=gone.memory_id))
    do(memories.SetPolicy(user_id=user_id, max_memories=50))
    do(memories.Search(user_id=user_id, query=word))
    for space in ("team", f"diary of {user_id}"):
        do(memories.Join(user_id=user_id, space=space))
        do(memories.Store(user_id=user_id, space=space, content=f"{user_id} has a {word}"))
        do(memories.Search(user_id=user_id, space=space, query=word))
    taught = tuple({**one, "text": f"{one['text']} {word}"} for one in lessons(20))
    do(examples.AddMany(user_id=user_id, program="support", examples=taught))
    do(optimization.OptimizeUser(user_id=user_id, program="support"))
    do(memories.Export(user_id=user_id, name=f"{user_id.partition('@')[0]}/{word}.jsonl"))


def test_nothing_of_an_erased_user_is_found_anywhere(
    client: Client,
    start_worker: StartWorker,
    database_url: str,
    broker_url: str,
    bespoke_env: dict[str, str],
    learning_env: dict[str, str],
    tmp_path: Path,
) -> None:
    storage = tmp_path / "storage"
    with StandinLM() as lm, StandinLM(latency=timedelta(seconds=0.5)) as slow:
        env = {
            **learning_env,
            **QUICK,
            "BESPOKE_LM_API_BASE": lm.url,
            "BESPOKE_STORAGE_URL": storage.as_uri(),
        }
        worker = start_worker(env=env, concurrency=1)
        live(client, ADA, SECRET)
        live(client, "bob", "trumpet")
        client.enqueue(memories.Search(user_id="bob", space="team", query="has")).result(SECONDS)
        client.enqueue(exports.ExportPrograms(name="all.jsonl.gz")).result(SECONDS)
        places = search(database_url, broker_url, storage, bespoke_env)
        assert {place.split()[0] for place in places} == {"table", "redis", "file"}
        kept = rows(database_url, OF_BOB)
        worker.terminate(SECONDS)

        env["BESPOKE_LM_API_BASE"] = slow.url
        workers = [
            start_worker("memories", env=env, concurrency=1),
            start_worker("reads,programs,optimization,exports,upkeep", env=env, concurrency=2),
        ]
        more = tuple({**one, "text": f"{one['text']} {SECRET}!"} for one in lessons(60)[20:])
        client.enqueue(examples.AddMany(user_id=ADA, program="support", examples=more)).result(
            SECONDS
        )
        running = client.enqueue(optimization.OptimizeUser(user_id=ADA, program="support"))
        wait_until(lambda: slow.calls > 2, "the optimization runs")
        with HeldBack(database_url, "memory") as table:
            queued = [
                client.enqueue(memories.Store(user_id=ADA, content=f"The {SECRET} of {number}"))
                for number in range(40)
            ]
            wait_until(table.waiting, "a store is in the middle of its transaction")
            erasure = client.enqueue(exports.EraseUser(user_id=ADA))
            fenced = "SELECT count(*) FROM erasure"
            wait_until(lambda: ask(database_url, fenced) == 2, "the fence is up")
            taken = "SELECT max(CAST(found ->> 'messages' AS int)) FROM erasure"
            wait_until(lambda: ask(database_url, taken), "stores that wait are taken away")
        erased = erasure.result(SECONDS)

    logs = [one.logs() for one in workers]
    assert search(database_url, broker_url, storage, bespoke_env, *logs) == []
    assert rows(database_url, OF_BOB) == kept
    assert erased.erased["memory"] >= 2
    assert erased.erased["said_in_shared_spaces"] == 1
    assert erased.erased["files"] == 1
    assert erased.erased["files_rewritten"] == 1
    assert erased.erased["messages"] >= 1
    with pytest.raises((JobError, JobCancelled)):
        running.result(SECONDS)
    ends = {job.status().value for job in queued}
    assert ends <= {"failed", "cancelled", "queued"}, ends

    begun = client.enqueue(memories.Store(user_id=ADA, content="Begins anew")).result(SECONDS)
    assert begun.count == 1
    again = client.enqueue(exports.ImportPrograms(url="all.jsonl.gz")).result(SECONDS)
    assert (again.imported, again.unchanged) == (0, 1)


def search(
    database_url: str, broker_url: str, storage: Path, env: Mapping[str, str], *logs: str
) -> list[str]:
    return found(
        (ADA, SECRET),
        database_url=database_url,
        redis_url=broker_url,
        folders=(storage, Path(env["BESPOKE_HOME"])),
        logs=logs,
    )
