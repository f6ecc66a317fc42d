"""One suite over the real client, with a real worker, and the fake for applications' tests."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from bespoke_client import (
    Client,
    Job,
    JobCancelled,
    JobFailed,
    ResultIgnored,
    exports,
    jobs,
    memories,
    optimization,
)
from bespoke_client.testing import RecordingClient
from tests.integration.client_far_end import FarEndRefusal, far_end
from tests.nodes.waiting import SECONDS


def stored(payload: memories.Store) -> memories.Stored:
    if payload.kind == "refused":
        raise FarEndRefusal("the kind 'refused' is not kept")
    return memories.Stored(memory_id=payload.id, outcome="inserted", count=len(payload.content))


def recording() -> RecordingClient:
    client = RecordingClient()
    client.answer(memories.Store, stored)
    client.answer(memories.Count, memories.Counted(count=7))
    return client


@pytest.fixture(params=["real", "recording"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "recording":
        yield recording()
        return
    url = request.getfixturevalue("broker_url")
    worker = far_end(url)
    worker.ready()
    with Client(url) as made:
        yield made
    worker.teardown()


def test_both_behave_alike(client: Client) -> None:
    """One test, because each start of a worker takes seconds."""
    _a_result_is_typed_and_stays(client)
    _a_failure_has_its_type_and_reason(client)
    _many_keep_their_order(client)
    _a_job_is_found_again_by_its_id(client)
    _an_ignored_result_cannot_be_read(client)
    _a_waiting_job_can_be_cancelled(client)
    _what_is_wrong_is_refused(client)


def _a_result_is_typed_and_stays(client: Client) -> None:
    payload = memories.Store(user_id="ada", content="abc")
    job = client.enqueue(payload)
    expected = memories.Stored(memory_id=payload.id, outcome="inserted", count=3)
    assert (job.id, job.task) == (payload.id, "bespoke.memories.store")
    assert job.result(timeout=SECONDS) == expected == job.result(timeout=SECONDS)
    assert job.status() is jobs.Status.SUCCEEDED
    assert job.progress() is None
    assert list(job.watch()) == []
    assert repr(job) == f"<Job bespoke.memories.store {payload.id}>"


def _a_failure_has_its_type_and_reason(client: Client) -> None:
    job = client.enqueue(memories.Store(user_id="ada", content="x", kind="refused"))
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=SECONDS)
    assert caught.value.error_type == "FarEndRefusal"
    assert caught.value.reason == "the kind 'refused' is not kept"
    assert job.status() is jobs.Status.FAILED
    with pytest.raises(JobFailed):
        list(job.watch())


def _many_keep_their_order(client: Client) -> None:
    made = client.enqueue_many(memories.Store(user_id="ada", content="x" * n) for n in (3, 1, 2))
    assert [job.result(timeout=SECONDS).count for job in made] == [3, 1, 2]
    assert client.enqueue_many([]) == []


def _a_job_is_found_again_by_its_id(client: Client) -> None:
    job = client.enqueue(memories.Count(user_id="ada"))
    for found in (client.job(job.id), client.job(str(job.id))):
        assert found.task is None
        assert found.result(timeout=SECONDS) == memories.Counted(count=7)
        assert found.task == "bespoke.memories.count"
    with pytest.raises(ValueError, match="a UUID"):
        client.job("17")


def _an_ignored_result_cannot_be_read(client: Client) -> None:
    job = client.enqueue(memories.Count(user_id="ada"), ignore_result=True)
    for read in (job.result, job.status, job.progress, lambda: list(job.watch())):
        with pytest.raises(ResultIgnored):
            read()


def _a_waiting_job_can_be_cancelled(client: Client) -> None:
    job = client.enqueue(exports.ExportPrograms())
    cancellation = job.cancel()
    assert isinstance(cancellation, Job)
    assert cancellation.result(timeout=SECONDS).cancelled
    if isinstance(client, RecordingClient):  # the far end consumes no exports
        with pytest.raises(JobCancelled):
            job.result()


def _what_is_wrong_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="expected a payload"):
        client.enqueue("text")  # type: ignore[arg-type]  # the point
    with pytest.raises(ValidationError):
        client.enqueue(optimization.OptimizeUser(user_id="\x00", program="support"))
