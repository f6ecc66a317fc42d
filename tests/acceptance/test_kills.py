"""A worker is killed in the middle of a job, and the job takes effect once all the same."""

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from bespoke_client import Client, Job, examples, jobs, memories, optimization
from examples.support_desk.desk import Desk, desks, load
from examples.support_desk.standin_lm import StandinLM
from tests.acceptance.held_back import QUICK, HeldBack, ask
from tests.conftest import StartWorker
from tests.integration.holding import Holding
from tests.nodes.waiting import SECONDS, wait_until

SAMPLE = Path(__file__).resolve().parents[2] / "examples/support_desk/sample.csv"


@pytest.mark.parametrize("how", ["main", "solo", "child", "group", "sigterm to the group"])
def test_a_store_whose_worker_is_killed_takes_effect_once(
    how: str, client: Client, start_worker: StartWorker, database_url: str
) -> None:
    pool = "solo" if how == "solo" else "prefork"
    worker = start_worker("memories,reads", concurrency=1, pool=pool, env=QUICK)
    with HeldBack(database_url, "memory") as table:
        job = client.enqueue(memories.Store(user_id="ada", content="Prefers dark mode"))
        wait_until(table.waiting, "the store is in the middle of its transaction")
        if how in {"main", "solo"}:
            worker.kill()
        elif how == "child":
            worker.children()[0].kill()
        else:
            worker.kill_group("SIGTERM" if how.startswith("sigterm") else "SIGKILL")
    if how != "child":
        start_worker("memories,reads", concurrency=1, pool=pool, env=QUICK)
    assert job.result(SECONDS).count == 1
    assert ask(database_url, "SELECT count(*) FROM memory") == 1
    assert ask(database_url, "SELECT count(*) FROM memory_archive") == 0
    assert ask(database_url, "SELECT count(*) FROM job WHERE id = $1", job.id) == 1


def test_an_optimization_whose_worker_is_killed_takes_effect_once_and_pays_no_call_twice(
    client: Client,
    start_worker: StartWorker,
    start_beat: Callable[[Mapping[str, str]], None],
    database_url: str,
    learning_env: dict[str, str],
) -> None:
    (desk,) = desks(load(SAMPLE), (250,))
    holding = Holding(sys.maxsize)
    with StandinLM(answer=holding) as lm:
        env = {**learning_env, **QUICK, "BESPOKE_LM_API_BASE": lm.url}
        worker = start_worker("programs,optimization", concurrency=1, env=env)
        undisturbed = _enqueue(client, desk).result(SECONDS)
        needed = lm.calls

        holding.hold(after=needed // 3)
        job = _enqueue(client, desk, user_id="killed")
        start_beat(env)  # its reaps wait for a worker of upkeep
        wait_until(lambda: holding.held, "a third of the calls are made")
        worker.kill_group()
        holding.let_go()
        # The dead worker's lease is short; that of the next one outlasts any stall.
        start_worker("programs,optimization,upkeep", env={**env, "BESPOKE_LEASE_S": "60"})
        result = job.result(SECONDS)
        # The calls that were on the wire when the worker died have to be made again.
        assert lm.calls - needed <= needed * 1.02 + 2
    assert result.optimizer == undisturbed.optimizer
    query = "SELECT count(*) FROM program_version WHERE user_id = 'killed'"
    assert ask(database_url, query) == 1
    attempts = ask(database_url, "SELECT attempts FROM optimization_job WHERE id = $1", job.id)
    assert attempts == 2


def test_a_run_whose_process_is_killed_has_not_failed_for_who_waits(
    client: Client, start_worker: StartWorker, learning_env: dict[str, str]
) -> None:
    (desk,) = desks(load(SAMPLE), (40,))
    holding = Holding(6)
    with StandinLM(answer=holding) as lm:
        env = {**learning_env, "BESPOKE_LM_API_BASE": lm.url}
        worker = start_worker("programs,optimization", concurrency=1, env=env)
        job = _enqueue(client, desk)
        wait_until(lambda: holding.held, "the run is in the middle")

        worker.children()[0].kill()

        worker.wait_for_log("its process is gone; the job is taken up again")
        assert job.status() is jobs.Status.RUNNING
        holding.let_go()


def test_a_worker_that_is_shut_down_hands_its_run_to_the_next(
    client: Client, start_worker: StartWorker, learning_env: dict[str, str]
) -> None:
    (desk,) = desks(load(SAMPLE), (40,))
    holding = Holding(6)
    # The calls that are left then take longer than a worker to hear of its end.
    with StandinLM(answer=holding, latency=timedelta(milliseconds=300)) as lm:
        env = {**learning_env, "BESPOKE_LM_API_BASE": lm.url}
        worker = start_worker("programs,optimization", concurrency=1, env=env)
        job = _enqueue(client, desk)
        wait_until(lambda: holding.held, "the run is in the middle")

        worker.kill_group("SIGTERM")
        holding.let_go()
        worker.wait(SECONDS)

        assert job.status() is jobs.Status.RUNNING
        start_worker("programs,optimization", env=env)  # and nobody who reaps
        assert job.result(SECONDS).lm_calls == lm.calls


def _enqueue(client: Client, desk: Desk, user_id: str = "calm") -> Job[optimization.Optimized]:
    fields = tuple(example.fields() for example in desk.examples)
    learned = examples.AddMany(user_id=user_id, program="support", examples=fields)
    client.enqueue(learned).result(SECONDS)
    return client.enqueue(optimization.OptimizeUser(user_id=user_id, program="support"))
