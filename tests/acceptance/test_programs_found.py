"""What can be asked about versions, from the client through the queue to a real worker."""

from pathlib import Path

import pytest

from bespoke_client import Client, JobFailed, programs
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS
from tests.two_predictors import NAME, tame_state

ROOT = Path(__file__).resolve().parents[2]


def save(client: Client, score: float, optimizer: str, *tags: str) -> programs.Saved:
    payload = programs.Save(
        program=NAME,
        user_id="ada",
        state=tame_state(f"demo of {score}"),
        optimizer=optimizer,
        score=score,
        tags=tags,
        activate=score == 0.75,
    )
    return client.enqueue(payload).result(SECONDS)


def test_a_library_is_searched_compared_and_tells_its_history(
    client: Client, start_worker: StartWorker
) -> None:
    env = {"BESPOKE_PROGRAMS": "tests.two_predictors", "PYTHONPATH": str(ROOT)}
    start_worker("programs", concurrency=1, env=env)
    first = save(client, 0.5, "LabeledFewShot", "night").program_id
    second = save(client, 0.75, "MIPROv2", "night", "production").program_id
    third = save(client, 0.25, "MIPROv2", "night").program_id

    wanted = programs.Find(
        user_id="ada", optimizer="MIPROv2", min_score=0.5, max_age_days=1, tags=["production"]
    )
    found = client.enqueue(wanted).result(SECONDS)
    assert [each.program_id for each in found.versions] == [second]

    page = client.enqueue(programs.List(user_id="ada", limit=2)).result(SECONDS)
    assert [(each.program_id, each.active) for each in page.versions] == [
        (third, False),
        (second, True),
    ]
    rest = client.enqueue(programs.List(user_id="ada", limit=2, after=page.next)).result(SECONDS)
    assert [each.program_id for each in rest.versions] == [first]
    assert rest.next is None

    best = client.enqueue(programs.Best(signature=page.versions[0].signature, user_id="ada"))
    version = best.result(SECONDS).version
    assert version is not None
    assert version.program_id == second

    history = client.enqueue(programs.History(user_id="ada")).result(SECONDS)
    assert (history.summary.total_programs, history.summary.avg_score) == (3, 0.5)
    assert history.summary.best == second
    assert history.optimizer_stats["MIPROv2"].best_score == 0.75
    assert history.trends.improvement_percentage == -50.0
    points = history.trends.programs[NAME].points
    assert [(each.score, each.promoted) for each in points] == [
        (0.5, False), (0.75, True), (0.25, False),
    ]  # fmt: skip

    comparing = programs.Compare(program_id_1=second, program_id_2=first, user_id="ada")
    compared = client.enqueue(comparing).result(SECONDS)
    assert compared.comparison.score_difference == 0.25
    assert compared.comparison.better_program == second
    assert compared.comparison.age_difference_hours < 0
    assert compared.predictors["classify"].demos_changed

    unseen = programs.Compare(program_id_1=second, program_id_2=first, user_id="grace")
    with pytest.raises(JobFailed, match=f"no version {second} that this user may see"):
        client.enqueue(unseen).result(SECONDS)
    nobody = client.enqueue(programs.Find(user_id="grace")).result(SECONDS)
    assert (nobody.versions, nobody.next) == ((), None)
