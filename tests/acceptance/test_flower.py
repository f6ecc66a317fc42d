"""Flower opens, names the tasks, and shows nothing of what users said."""

import json
import re
import urllib.request
from collections.abc import Callable

import pytest

from bespoke_client import Client, JobFailed, examples, memories
from tests.conftest import StartWorker
from tests.nodes.process import ProcessContainer
from tests.nodes.waiting import SECONDS, wait_until

MARKER = "xyzzy-4711-secret"
PAGES = ("/", "/workers", "/tasks", "/broker", "/api/tasks", "/api/workers", "/metrics")


def test_flower_names_the_tasks_and_shows_no_contents(
    client: Client,
    start_worker: StartWorker,
    start_command: Callable[..., ProcessContainer],
    learning_env: dict[str, str],
) -> None:
    start_command("beat", ready="reap-lost-runs")  # it sends the first one after a while
    worker = start_worker(env=learning_env)
    env = {"FLOWER_UNAUTHENTICATED_API": "true"}
    flower = start_command("flower", "--port", "0", ready="Visit me at", env=env)
    url = _url(flower)
    wait_until(lambda: _seen_by_flower(url, client), "Flower receives events")
    job = client.enqueue(memories.Store(user_id=MARKER, content=f"My word is {MARKER}"))
    job.result(SECONDS)
    search = client.enqueue(memories.Search(user_id=MARKER, query=f"what is {MARKER}"))
    assert search.result(SECONDS).matches
    fields = {"text": MARKER, "label": MARKER}
    added = client.enqueue(examples.Add(user_id="ada", program="support", example=fields))
    added.result(SECONDS)
    refused = client.enqueue(
        examples.Add(user_id="ada", program="support", example={"other": MARKER})
    )
    with pytest.raises(JobFailed):
        refused.result(SECONDS)

    wait_until(lambda: _states(url).get("bespoke.upkeep.reap") == "SUCCESS", "a reap has ended")
    jobs = {str(job.id), str(search.id), str(added.id), str(refused.id)}
    wait_until(lambda: jobs <= json.loads(_get(url, "/api/tasks")).keys(), "Flower has seen them")
    tasks = json.loads(_get(url, "/api/tasks"))
    names = {task["name"] for task in tasks.values()}
    assert {"bespoke.memories.store", "bespoke.memories.search", "bespoke.examples.add"} <= names
    for page in (*PAGES, f"/task/{job.id}", f"/task/{search.id}", f"/api/task/info/{search.id}"):
        assert MARKER not in _get(url, page), page
    assert MARKER not in worker.log()
    assert MARKER not in flower.logs()


def _seen_by_flower(url: str, client: Client) -> bool:
    """Do a job and tell whether Flower has seen any; it says it is ready before it listens."""
    client.enqueue(memories.Count(user_id="ada")).result(SECONDS)
    return bool(json.loads(_get(url, "/api/tasks")))


def _states(url: str) -> dict[str, str]:
    tasks = json.loads(_get(url, "/api/tasks")).values()
    return {task["name"]: task["state"] for task in tasks}


def _url(flower: ProcessContainer) -> str:
    found = re.search(r"Visit me at (http://\S+)", flower.logs())
    assert found is not None
    return found[1].rstrip('",')


def _get(url: str, page: str) -> str:
    with urllib.request.urlopen(url + page, timeout=SECONDS) as answer:
        text: str = answer.read().decode()
        return text
