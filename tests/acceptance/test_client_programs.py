"""An application without the database serves what workers load for it, and goes on without them."""

import json
from pathlib import Path

import pytest

from bespoke_client import Client, NotServed, programs
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS
from tests.two_predictors import NAME, Triage, tame_state

ROOT = Path(__file__).resolve().parents[2]


def save(client: Client, words: str) -> programs.Saved:
    saving = programs.Save(program=NAME, user_id="ada", state=tame_state(words), activate=True)
    return client.enqueue(saving).result(SECONDS)


def said(served: programs.Programs) -> str | None:
    module = served.for_user(NAME, "ada")
    return module.classify.demos[0]["text"] if module.classify.demos else None


def test_a_user_s_program_comes_through_the_queue(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    env = {
        "BESPOKE_PROGRAMS": "tests.two_predictors,tests.subscribing",
        "PYTHONPATH": str(ROOT),
        "TOLD": str(told),
    }
    worker = start_worker("programs", concurrency=1, env=env)
    patient = programs.Programs(client, {NAME: Triage}, ttl=SECONDS, timeout=SECONDS)
    anew = programs.Programs(client, {NAME: Triage}, ttl=0.0, timeout=SECONDS)

    # The worker's first job, before which it has imported whoever subscribes.
    assert anew.for_user(NAME, "bob").classify.demos == []
    (event,) = [json.loads(line) for line in told.read_text().splitlines()]
    assert (event["event"], event["found"]) == ("dspy.storage.load_complete", False)

    save(client, "first")
    assert (said(patient), said(anew)) == ("first", "first")
    second = save(client, "second")
    assert (said(patient), said(anew)) == ("first", "second")
    patient.forget("ada")
    assert said(patient) == "second"
    assert second.active

    worker.teardown()
    impatient = programs.Programs(client, {NAME: Triage}, timeout=0.2)
    assert said(patient) == "second"
    assert said(impatient) is None
    with pytest.raises(NotServed, match="workers did not answer in time"):
        impatient.for_user(NAME, "ada", strict=True)
