"""A job that is revoked by Celery's remote control, or from Flower, is cancelled."""

import re
import urllib.request
from collections.abc import Callable
from datetime import timedelta

import pytest
from celery import Celery

from bespoke_client import Client, Job, JobCancelled, examples, optimization
from bespoke_schemas.ids import uuid7
from examples.support_desk.standin_lm import StandinLM
from tests.acceptance.conftest import ROOT
from tests.acceptance.held_back import ask
from tests.conftest import StartWorker
from tests.integration.optimizing import PROGRAM, lessons
from tests.nodes.process import ProcessContainer
from tests.nodes.waiting import SECONDS, wait_until

LATENCY = timedelta(seconds=0.5)
UNDER_WAY = 4  # calls on the wire, which the stand-in may count only after the run was stopped
# Of four threads in two seconds, and as many again; calls go as slowly as the machine does.
SOON = 2 * UNDER_WAY * (timedelta(seconds=2) // LATENCY)
SHORT = "reads,programs,optimization,upkeep"

Revoke = Callable[[Job[optimization.Optimized]], object]


def running(client: Client, lm: StandinLM) -> Job[optimization.Optimized]:
    """Enqueue an optimization and return it once it calls the LM."""
    before = lm.calls
    job = client.enqueue(optimization.OptimizeUser(user_id="ada", program=PROGRAM, tier="advanced"))
    wait_until(lambda: lm.calls > before, "the run calls the LM")
    return job


def state_of(database_url: str, job: Job[optimization.Optimized]) -> tuple[str, str]:
    query = "SELECT array[state, error] FROM optimization_job WHERE id = $1"
    state, error = ask(database_url, query, job.id)
    return state, error


def is_cancelled(database_url: str, job: Job[optimization.Optimized]) -> None:
    """Wait for the end of a job that was just revoked."""
    with pytest.raises(JobCancelled):
        job.result(SECONDS)
    wait_until(lambda: state_of(database_url, job)[0] == "cancelled", "the row has ended")


def test_what_is_revoked_is_cancelled_whoever_revokes_it(
    client: Client,
    start_worker: StartWorker,
    start_command: Callable[..., ProcessContainer],
    database_url: str,
    broker_url: str,
) -> None:
    with StandinLM(latency=LATENCY) as lm:
        env = {
            "BESPOKE_PROGRAMS": "examples.support_desk.program",
            "BESPOKE_LM": "openai/standin",
            "BESPOKE_LM_API_BASE": lm.url,
            "BESPOKE_LM_API_KEY": "none",
            "PYTHONPATH": str(ROOT),
        }
        start_worker(SHORT, env=env)
        flower = start_command(
            "flower",
            *("--port", "0"),
            ready="Visit me at",
            env={"FLOWER_UNAUTHENTICATED_API": "true"},
        )
        taught = examples.AddMany(user_id="ada", program=PROGRAM, examples=lessons(60))
        client.enqueue(taught).result(SECONDS)
        with Celery(broker=broker_url) as remote:

            def by_flower(job: Job[optimization.Optimized], query: str = "") -> None:
                address = f"{_url(flower)}/api/task/revoke/{job.id}{query}"
                urllib.request.urlopen(urllib.request.Request(address, method="POST")).close()

            ways: list[Revoke] = [
                lambda job: remote.control.revoke(str(job.id)),
                lambda job: remote.control.revoke(str(job.id), terminate=True),
                by_flower,
                lambda job: by_flower(job, "?terminate=true"),
                lambda job: remote.control.terminate(str(job.id)),
            ]
            for revoke in ways:
                job = running(client, lm)
                made = lm.calls
                revoke(job)
                is_cancelled(database_url, job)
                assert lm.calls - made <= SOON
                assert state_of(database_url, job)[1] == "cancelled while it ran"
                most = lm.calls + UNDER_WAY
                follower = optimization.OptimizeUser(user_id="bob", program=PROGRAM)
                assert client.enqueue(follower).result(SECONDS).reason.startswith("0 examples")
                assert lm.calls <= most


def test_an_optimization_that_waits_ends_cancelled_when_it_is_revoked(
    client: Client,
    start_worker: StartWorker,
    learning_env: dict[str, str],
    database_url: str,
    broker_url: str,
) -> None:
    start_worker(SHORT, env=learning_env, arguments=("-X", "optimization.runs"))
    waiting = client.enqueue(optimization.OptimizeUser(user_id="ada", program=PROGRAM))
    rows = "SELECT count(*) FROM optimization_job WHERE state = 'queued'"
    wait_until(lambda: ask(database_url, rows), "accepted")
    with Celery(broker=broker_url) as remote:
        remote.control.revoke(str(waiting.id))
        is_cancelled(database_url, waiting)  # by the revocation: nothing else looks after it
        assert state_of(database_url, waiting)[1] == "cancelled before it began"
        # One that no worker has heard of yet, and an id that is no job's at all.
        unheard = optimization.OptimizeUser(id=uuid7(), user_id="ada", program=PROGRAM)
        remote.control.revoke([str(unheard.id), "no-job-of-ours"])
        ended = "SELECT count(*) FROM job WHERE id = $1 AND state = 'cancelled'"
        wait_until(lambda: ask(database_url, ended, unheard.id), "recorded")
        with pytest.raises(JobCancelled):
            client.enqueue(unheard).result(SECONDS)
    assert ask(database_url, "SELECT count(*) FROM optimization_job") == 1


def _url(flower: ProcessContainer) -> str:
    found = re.search(r"Visit me at (http://\S+)", flower.logs())
    assert found is not None
    return found[1].rstrip('",')
