"""What only the fakes have; what they share with the clients is in the conformance suite."""

import asyncio
from uuid import UUID

import pytest

from bespoke_client import Client, JobCancelled, JobFailed, jobs, memories, optimization
from bespoke_client.testing import RecordingAsyncClient, RecordingClient, Unanswered
from bespoke_schemas import uuid7


def remember_and_count(client: Client, user_id: str) -> int:
    """What an application does with a client."""
    client.enqueue(memories.Store(user_id=user_id, content="Prefers dark mode"))
    return client.enqueue(memories.Count(user_id=user_id)).result(timeout=10).count


def test_an_application_is_tested_without_a_broker() -> None:
    client = RecordingClient()
    client.answer(memories.Count, memories.Counted(count=3))
    assert remember_and_count(client, "ada") == 3
    stored, _ = client.enqueued
    assert isinstance(stored, memories.Store)
    assert stored.content == "Prefers dark mode"


def test_a_function_may_answer_by_the_payload() -> None:
    client = RecordingClient()
    client.answer(memories.Count, lambda count: memories.Counted(count=len(count.user_id)))
    assert remember_and_count(client, "grace") == 5


def test_an_unanswered_job_says_how_to_answer() -> None:
    client = RecordingClient()
    job = client.enqueue(memories.Store(user_id="ada", content="x"))
    assert job.status() is jobs.Status.QUEUED
    advice = r"client\.answer\(memories\.Store, memories\.Stored\(\.\.\.\)\)"
    with pytest.raises(Unanswered, match=advice):
        job.result(timeout=10)
    with pytest.raises(Unanswered, match=advice):
        list(job.watch())
    with pytest.raises(Unanswered, match="never enqueued here"):
        client.job(uuid7()).result()


def test_an_answer_may_be_set_after_the_job_was_enqueued() -> None:
    client = RecordingClient()
    job = client.enqueue(memories.Count(user_id="ada"))
    client.answer(memories.Count, memories.Counted(count=1))
    assert job.result().count == 1


def test_an_exception_fails_the_job() -> None:
    client = RecordingClient()
    client.answer(memories.Count, LookupError("no such user"))
    with pytest.raises(JobFailed, match="LookupError: no such user"):
        client.enqueue(memories.Count(user_id="ada")).result()


def test_one_job_is_answered_once() -> None:
    client = RecordingClient()
    asked: list[UUID] = []

    def answer(count: memories.Count) -> memories.Counted:
        asked.append(count.id)
        return memories.Counted(count=len(asked))

    client.answer(memories.Count, answer)
    payload = memories.Count(user_id="ada")
    first, again = client.enqueue(payload), client.enqueue(payload)
    assert first.result() == again.result() == memories.Counted(count=1)
    assert client.enqueued == [payload, payload]


def test_progress_is_watched_as_it_was_set() -> None:
    client = RecordingClient()
    steps = [jobs.Progress(done=1), jobs.Progress(done=2)]
    client.answer(optimization.OptimizeUser, ValueError("enough"), progress=steps)
    watched = client.enqueue(optimization.OptimizeUser(user_id="ada", program="support")).watch()
    assert [next(watched), next(watched)] == steps


def test_cancelling_an_unanswered_job_ends_it() -> None:
    client = RecordingClient()
    job = client.enqueue(memories.Count(user_id="ada"))
    assert job.cancel().result().cancelled
    assert job.status() is jobs.Status.CANCELLED
    with pytest.raises(JobCancelled):
        job.result()


def test_cancelling_comes_too_late_for_an_answered_job() -> None:
    client = RecordingClient()
    client.answer(memories.Count, memories.Counted(count=1))
    job = client.enqueue(memories.Count(user_id="ada"))
    assert not job.cancel().result().cancelled
    assert job.result().count == 1


def test_the_asyncio_fake_answers_too() -> None:
    async def use() -> int:
        async with RecordingAsyncClient() as client:
            client.answer(memories.Count, memories.Counted(count=3), progress=[jobs.Progress()])
            job = await client.enqueue(memories.Count(user_id="ada"))
            assert [progress async for progress in job.watch()] == [jobs.Progress()]
            with pytest.raises(Unanswered):
                await client.job(uuid7()).result()
            return (await job.result()).count

    assert asyncio.run(use()) == 3
