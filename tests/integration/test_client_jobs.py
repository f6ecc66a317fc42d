"""Jobs through a real Redis and a real worker process, from the client's side."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import redis

from bespoke_client import (
    AsyncClient,
    BadResult,
    Client,
    Job,
    JobCancelled,
    JobFailed,
    ResultTimeout,
    exports,
    jobs,
    memories,
    optimization,
)
from bespoke_workers.local import LocalRedis
from tests.integration.client_far_end import app, far_end, open_gate
from tests.nodes.waiting import SECONDS


@pytest.fixture(scope="module")
def url(redis_process: LocalRedis) -> str:
    """Database 0, which no other test is given, with a worker for all tests of this file."""
    redis_process.start()
    with redis.Redis.from_url(redis_process.url_for(0)) as connection:
        connection.flushdb()
    return redis_process.url_for(0)


@pytest.fixture(scope="module", autouse=True)
def _worker(url: str) -> Iterator[None]:
    worker = far_end(url)
    worker.ready()
    yield
    worker.teardown()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as made:
        yield made


def optimize(client: Client) -> Job[optimization.Optimized]:
    return client.enqueue(optimization.OptimizeUser(user_id="ada", program="support"))


def test_a_result_comes_back_typed(client: Client) -> None:
    payload = memories.Store(user_id="ada", content="Prefers dark mode")
    job = client.enqueue(payload)
    stored = job.result(timeout=SECONDS)
    assert stored == memories.Stored(memory_id=payload.id, outcome="inserted", count=17)
    assert job.status() is jobs.Status.SUCCEEDED
    assert job.result(timeout=0) == stored


def test_results_of_many_come_back_to_their_own_jobs(client: Client) -> None:
    payloads = [memories.Store(user_id=f"user {n}", content="x" * (n + 1)) for n in range(60)]
    made = client.enqueue_many(payloads)
    assert [job.result(timeout=SECONDS).count for job in made] == list(range(1, 61))


def test_one_job_may_be_awaited_by_many_threads(client: Client, url: str) -> None:
    job = optimize(client)
    seen: list[optimization.Optimized] = []
    waiting = [
        threading.Thread(target=lambda: seen.append(job.result(timeout=SECONDS))) for _ in range(20)
    ]
    for thread in waiting:
        thread.start()
    open_gate(url, job.id, times=2)
    for thread in waiting:
        thread.join(SECONDS)
    assert len(seen) == 20


def test_a_failure_names_the_workers_error_and_reason(client: Client) -> None:
    job = client.enqueue(memories.Store(user_id="ada", content="x", kind="refused"))
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=SECONDS)
    assert caught.value.error_type == "FarEndRefusal"
    assert caught.value.reason == "the kind 'refused' is not kept"
    assert str(job.id) in str(caught.value)
    assert job.status() is jobs.Status.FAILED
    with pytest.raises(JobFailed):
        list(job.watch())


def test_watching_yields_progress_as_it_changes_and_ends_with_the_job(
    client: Client, url: str
) -> None:
    job = optimize(client)
    seen = []
    for progress in job.watch():
        seen.append((progress.step, progress.done, progress.total, progress.best_score))
        assert job.status() is jobs.Status.RUNNING
        assert job.progress() == progress
        open_gate(url, job.id)
    assert seen == [("trials", 1, 2, 0.25), ("trials", 2, 2, 0.5)]
    assert job.result(timeout=0).promoted


def test_a_waiter_is_told_and_need_not_ask(client: Client, url: str) -> None:
    job = optimize(client)
    for progress in job.watch(interval=3600):
        open_gate(url, job.id)
        assert progress.total == 2
    assert job.progress() is None


FIND_AGAIN = """
import sys
from bespoke_client import Client
with Client(sys.argv[1]) as client:
    job = client.job(sys.argv[2])
    assert job.task is None
    print(type(job.result(timeout=120)).__name__, job.task, job.status().value)
"""


def test_a_job_is_found_again_from_another_process_by_its_id_alone(
    client: Client, url: str
) -> None:
    job = client.enqueue(memories.Count(user_id="ada"))
    job.result(timeout=SECONDS)
    other = subprocess.run(
        [sys.executable, "-W", "error", "-c", FIND_AGAIN, url, str(job.id)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert other.stderr == ""
    assert other.stdout.split() == ["Counted", "bespoke.memories.count", "succeeded"]


def test_an_answer_of_the_wrong_shape_is_a_bad_result(client: Client) -> None:
    job = client.enqueue(memories.Search(user_id="ada", query="colours"))
    with pytest.raises(BadResult, match="matches") as caught:
        job.result(timeout=SECONDS)
    assert "not a list" not in str(caught.value)


def test_a_cancelled_job_that_waits_is_never_started(
    client: Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = client.enqueue(exports.ExportPrograms())  # nobody consumes exports yet
    cancellation = waiting.cancel()
    assert cancellation.result(timeout=SECONDS).cancelled
    # Travels the way that the revocation went, so it comes after it.
    monkeypatch.setattr(app.conf, "broker_url", url)
    app.control.add_consumer("exports")
    app.close()
    with pytest.raises(JobCancelled, match=str(waiting.id)):
        waiting.result(timeout=SECONDS)
    assert waiting.status() is jobs.Status.CANCELLED


async def _through_asyncio(url: str) -> None:
    async with AsyncClient(url) as client:
        stored = await client.enqueue(memories.Store(user_id="ada", content="abc"))
        assert (await stored.result(timeout=SECONDS)).count == 3
        again = client.job(str(stored.id))
        assert isinstance(await again.result(timeout=SECONDS), memories.Stored)
        assert await again.status() is jobs.Status.SUCCEEDED

        run = await client.enqueue(optimization.OptimizeUser(user_id="ada", program="support"))
        with pytest.raises(ResultTimeout):
            await run.result(timeout=0.05)
        seen = []
        async for progress in run.watch():
            seen.append(progress.done)
            await asyncio.to_thread(open_gate, url, run.id)
        assert seen == [1, 2]
        assert (await run.result()).promoted

        refused = await client.enqueue(memories.Store(user_id="ada", content="x", kind="refused"))
        with pytest.raises(JobFailed, match="FarEndRefusal"):
            await refused.result(timeout=SECONDS)
        cancellation = await (await client.enqueue(exports.ExportPrograms())).cancel()
        assert (await cancellation.result(timeout=SECONDS)).cancelled


def test_the_asyncio_client_does_the_same(url: str) -> None:
    asyncio.run(_through_asyncio(url))


def test_hundreds_of_waits_at_once_on_one_loop(url: str) -> None:
    async def wait_for_all() -> list[int]:
        async with AsyncClient(url) as client:
            payloads = [memories.Store(user_id=f"u{n}", content="x") for n in range(200)]
            made = await client.enqueue_many(payloads)
            return [
                one.count for one in await asyncio.gather(*(job.result(SECONDS) for job in made))
            ]

    assert asyncio.run(wait_for_all()) == [1] * 200
