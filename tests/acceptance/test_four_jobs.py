"""The jobs of the product, from the client through the queue to real workers and back."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bespoke_client import (
    Client,
    JobFailed,
    examples,
    exports,
    memories,
    optimization,
    programs,
)
from bespoke_schemas.jobs import Status
from examples.support_desk.desk import Desk, desks, load
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS

SAMPLE = Path(__file__).resolve().parents[2] / "examples/support_desk/sample.csv"


@pytest.fixture(scope="module")
def people() -> list[Desk]:
    return desks(load(SAMPLE), (5, 20, 80))


def test_a_memory_is_stored_merged_found_and_counted(
    client: Client, start_worker: StartWorker
) -> None:
    start_worker("memories,reads")
    first = client.enqueue(memories.Store(user_id="ada", content="Prefers dark mode", tags=["ui"]))
    again = client.enqueue(memories.Store(user_id="ada", content="  prefers DARK  mode"))
    assert {first.result(SECONDS).outcome, again.result(SECONDS).outcome} == {"inserted", "merged"}
    other = client.enqueue(memories.Store(user_id="grace", content="Prefers dark mode"))
    assert other.result(SECONDS).outcome == "inserted"

    found = client.enqueue(memories.Search(user_id="ada", query="dark mode", limit=5))
    (match,) = found.result(SECONDS).matches
    assert "dark" in match.memory.content.lower()
    assert match.memory.tags == ("ui",)
    counted = client.enqueue(memories.Count(user_id="ada")).result(SECONDS)
    assert counted.count == 1


def test_the_same_payload_enqueued_twice_is_one_job(
    client: Client, start_worker: StartWorker
) -> None:
    start_worker("memories,reads")
    payload = memories.Store(user_id="ada", content="Lives in Turin")
    results = {client.enqueue(payload).result(SECONDS) for _ in range(3)}
    assert len(results) == 1
    assert client.enqueue(memories.Count(user_id="ada")).result(SECONDS).count == 1


def test_each_user_gets_the_program_that_their_examples_warrant(
    client: Client, start_worker: StartWorker, learning_env: dict[str, str], people: list[Desk]
) -> None:
    start_worker("programs,optimization", env=learning_env)
    _learn(client, people)
    jobs = [
        client.enqueue(optimization.OptimizeUser(user_id=desk.user_id, program="support"))
        for desk in people
    ]
    none, basic, advanced = (job.result(SECONDS) for job in jobs)
    assert (none.tier, none.optimizer, none.promoted) == ("none", None, False)
    assert (basic.tier, basic.optimizer) == ("basic", "LabeledFewShot")
    assert (advanced.tier, advanced.optimizer) == ("advanced", "BootstrapFewShot")
    for result in (basic, advanced):
        assert result.score_before is not None
        assert result.score_after is not None
        assert result.promoted == result.reason.startswith("better: ")
        assert result.score_after > result.score_before or not result.promoted
    assert advanced.promoted
    assert advanced.lm_calls > 0
    assert jobs[2].status() is Status.SUCCEEDED
    active = client.enqueue(programs.LoadActive(program="support", user_id=people[2].user_id))
    version = active.result(SECONDS).version
    assert version is not None
    assert (version.program_id, version.score) == (advanced.program_id, advanced.score_after)


def test_enough_feedback_optimizes_the_program_once(
    client: Client, start_worker: StartWorker, learning_env: dict[str, str], people: list[Desk]
) -> None:
    start_worker("programs,optimization", env=learning_env)
    said = [_feedback(people[1].user_id, each.fields()) for each in people[1].examples[:10]]
    jobs = [client.enqueue(each) for each in (*said, *said[-2:])]  # the last two come twice
    judged = [job.result(SECONDS) for job in jobs]
    assert max(one.total for one in judged) == 10
    (due,) = {one.optimization for one in judged} - {None}
    optimized = client.job(str(due)).result(SECONDS)
    assert isinstance(optimized, optimization.Optimized)
    assert (optimized.examples, optimized.tier) == (10, "basic")
    told = client.enqueue(examples.Stats(user_id=people[1].user_id)).result(SECONDS)
    (learner,) = told.programs
    assert (learner.new, learner.approved, learner.reoptimized_after) == (0, 10, 10)


def test_a_batch_optimizes_the_tiers_users_once_a_night(
    client: Client, start_worker: StartWorker, learning_env: dict[str, str], people: list[Desk]
) -> None:
    start_worker("programs,optimization", env=learning_env)
    _learn(client, people)
    night = optimization.OptimizeTier(program="support", tier="basic", night=date(2026, 11, 21))
    summary = client.enqueue(night).result(SECONDS)
    assert (summary.eligible, summary.failed) == (1, 0)
    again = optimization.OptimizeTier(program="support", tier="basic", night=date(2026, 11, 21))
    assert client.enqueue(again).result(SECONDS).batch_id == summary.batch_id


def test_programs_survive_an_export_and_an_import(
    client: Client, start_worker: StartWorker, learning_env: dict[str, str]
) -> None:
    start_worker("programs,exports", env=learning_env)
    demos = [{"text": "where is my card", "label": "amber tray"}]
    state = {
        "label": {
            "demos": demos,
            "signature": {
                "instructions": "Label.",
                "fields": [
                    {"prefix": "Text:", "description": "the message"},
                    {"prefix": "Label:", "description": "the label"},
                ],
            },
        }
    }
    saved = client.enqueue(
        programs.Save(program="support", user_id="ada", state=state, score=0.5, activate=True)
    ).result(SECONDS)
    best = client.enqueue(programs.Best(program="support", user_id="ada")).result(SECONDS)
    assert best.version is not None
    assert best.version.program_id == saved.program_id
    bundle = client.enqueue(exports.ExportPrograms()).result(SECONDS)
    assert bundle.count == 1
    imported = client.enqueue(exports.ImportPrograms(url=bundle.url)).result(SECONDS)
    assert (imported.imported, imported.unchanged) == (0, 1)
    elsewhere = client.enqueue(programs.Load(program_id=saved.program_id, user_id="grace"))
    assert elsewhere.result(SECONDS).version is None


def test_an_unknown_program_is_refused_with_what_to_do(
    client: Client, start_worker: StartWorker, learning_env: dict[str, str]
) -> None:
    start_worker("programs,optimization", env=learning_env)
    payload = examples.Add(user_id="ada", program="suport", example={"text": "a", "label": "b"})
    with pytest.raises(JobFailed, match=r"unknown program 'suport'.*support.*BESPOKE_PROGRAMS"):
        client.enqueue(payload).result(SECONDS)
    run = optimization.OptimizeUser(user_id="ada", program="suport")
    with pytest.raises(JobFailed, match="unknown program 'suport'"):
        client.enqueue(run).result(SECONDS)


def _learn(client: Client, people: list[Desk]) -> None:
    for desk in people:
        fields = tuple(example.fields() for example in desk.examples)
        payload = examples.AddMany(user_id=desk.user_id, program="support", examples=fields)
        assert client.enqueue(payload).result(SECONDS).total == len(fields)


def _feedback(user_id: str, fields: dict[str, Any]) -> examples.Feedback:
    """Say that a message got the label that its user wants."""
    return examples.Feedback(
        user_id=user_id,
        program="support",
        inputs={"text": fields["text"]},
        outputs={"label": fields["label"]},
        positive=True,
    )
