"""Optimizations from an application's side: real workers, one of which is killed."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import pytest

from bespoke_client import Client, Job, JobCancelled, JobFailed, examples, optimization
from bespoke_workers.optimization.judging.judging import THREADS
from examples.support_desk.standin_lm import StandinLM
from tests.conftest import StartWorker
from tests.integration.optimizing import MODULE, PROGRAM, lessons
from tests.nodes.waiting import SECONDS

LEASE_S = 2


@pytest.fixture
def lm() -> Iterator[StandinLM]:
    with StandinLM(latency=timedelta(milliseconds=10)) as started:
        yield started


@pytest.fixture
def lm_env(lm: StandinLM) -> Mapping[str, str]:
    return {
        "BESPOKE_PROGRAMS": MODULE,
        "BESPOKE_LM": "openai/standin",
        "BESPOKE_LM_API_BASE": lm.url,
        "BESPOKE_LM_API_KEY": "a key of no value",
        "BESPOKE_LEASE_S": str(LEASE_S),
    }


@pytest.fixture
def client(broker_url: str) -> Iterator[Client]:
    with Client(broker_url) as made:
        yield made


def teach(client: Client, user_id: str, count: int) -> None:
    added = client.enqueue(
        examples.AddMany(user_id=user_id, program=PROGRAM, examples=lessons(count))
    )
    assert added.result(SECONDS).total == count


def optimize(client: Client, user_id: str) -> Job[optimization.Optimized]:
    return client.enqueue(optimization.OptimizeUser(user_id=user_id, program=PROGRAM))


def test_an_application_watches_an_optimization_and_gets_its_result(
    start_worker: StartWorker, client: Client, lm: StandinLM, lm_env: Mapping[str, str]
) -> None:
    start_worker(env=lm_env)
    teach(client, "ada", 210)
    job = optimize(client, "ada")
    seen = list(job.watch())
    assert "MIPROv2" in {progress.step for progress in seen}
    calls = [progress.lm_calls for progress in seen]
    assert calls == sorted(calls)
    optimized = job.result(SECONDS)
    assert optimized.promoted
    assert optimized.lm_calls == lm.calls


def test_a_batch_is_answered_by_whichever_worker_ends_it(
    start_worker: StartWorker, client: Client, lm_env: Mapping[str, str]
) -> None:
    start_worker(env=lm_env, concurrency=3)
    for number in range(5):
        teach(client, f"user-{number}", 12)
    night = optimization.OptimizeTier(
        program=PROGRAM, tier="basic", max_concurrent=2, night=date(2026, 3, 1)
    )
    summary = client.enqueue(night).result(SECONDS)
    assert (summary.eligible, summary.failed) == (5, 0)


def test_a_running_optimization_is_cancelled(
    start_worker: StartWorker, client: Client, lm_env: Mapping[str, str]
) -> None:
    with StandinLM(latency=timedelta(milliseconds=200)) as slow:
        start_worker(env={**lm_env, "BESPOKE_LM_API_BASE": slow.url}, concurrency=2)
        teach(client, "ada", 210)
        job = optimize(client, "ada")
        for progress in job.watch():
            if progress.lm_calls > 20:
                job.cancel()
                break
        with pytest.raises(JobCancelled):
            job.result(SECONDS)
        made = slow.calls
        assert optimize(client, "nobody").result(SECONDS).tier == "none"
        # The client is told at once, so calls that were on their way may arrive after that.
        assert slow.calls <= made + THREADS


def test_a_failure_is_told_in_one_line(
    start_worker: StartWorker, client: Client, lm_env: Mapping[str, str]
) -> None:
    start_worker(env={**lm_env, "BESPOKE_LM": ""})
    with pytest.raises(JobFailed, match="BESPOKE_LM"):
        optimize(client, "ada").result(SECONDS)


def reap(env: Mapping[str, str]) -> None:
    """Send what beat sends every few seconds."""
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "bespoke_workers", "call", "bespoke.upkeep.reap"],
        env=dict(env),
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )


def test_a_killed_worker_s_optimization_is_ended_by_another_one(
    start_worker: StartWorker,
    client: Client,
    lm: StandinLM,
    lm_env: Mapping[str, str],
    bespoke_env: dict[str, str],
) -> None:
    first = start_worker(env=lm_env)
    teach(client, "ada", 210)
    job = optimize(client, "ada")
    for progress in job.watch():
        if progress.lm_calls > 200:
            break
    first.kill_group()
    start_worker(env={**lm_env, "BESPOKE_LEASE_S": "60"})  # which no stall outlasts
    while not job.status().final:
        reap({**bespoke_env, **lm_env})
    optimized = job.result(SECONDS)
    assert optimized.promoted
    assert optimized.lm_calls <= lm.calls <= optimized.lm_calls + 4
