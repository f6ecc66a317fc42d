import json
from typing import Any
from uuid import UUID

import pytest

from bespoke_client import BadResult, JobCancelled, JobFailed, memories
from bespoke_client.state import State, decode
from bespoke_schemas.jobs import Progress, Status

JOB = UUID("01900000-0000-7000-8000-000000000001")
SECRET = "never-to-be-shown"
STORED = {"memory_id": str(JOB), "outcome": "merged", "count": 3}


def meta(status: str, result: Any = None) -> bytes:
    return json.dumps({"status": status, "result": result, "task_id": str(JOB)}).encode()


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        (None, Status.QUEUED),
        (meta("PENDING"), Status.QUEUED),
        (meta("RECEIVED"), Status.QUEUED),
        (meta("RETRY", {"exc_type": "Transient", "exc_message": ["away"]}), Status.QUEUED),
        (meta("STARTED", {"pid": 1, "hostname": "here"}), Status.RUNNING),
        (meta("PROGRESS", {"task": "bespoke.memories.store"}), Status.RUNNING),
        (meta("SUCCESS", {"task": "bespoke.memories.store", "result": STORED}), Status.SUCCEEDED),
        (meta("FAILURE", {"exc_type": "Refused", "exc_message": ["no"]}), Status.FAILED),
        (meta("FAILURE", {"exc_type": "Cancelled", "exc_message": ["no"]}), Status.CANCELLED),
        (meta("REVOKED", {"exc_type": "TaskRevokedError"}), Status.CANCELLED),
        (meta("A_STATE_OF_LATER_VERSIONS"), Status.RUNNING),
    ],
)
def test_each_entry_has_its_status(entry: bytes | None, status: Status) -> None:
    state = decode(JOB, entry)
    assert state.status is status
    assert state.final is status.final


def test_progress_is_read_with_its_task() -> None:
    content = {"task": "bespoke.memories.store", "progress": {"done": 3, "total": 9}}
    state = decode(JOB, meta("PROGRESS", content))
    assert state.progress == Progress(done=3, total=9)
    assert state.task == "bespoke.memories.store"


def test_a_result_has_the_type_that_its_task_answers() -> None:
    state = decode(JOB, meta("SUCCESS", {"task": "bespoke.memories.store", "result": STORED}))
    expected = memories.Stored(memory_id=JOB, outcome="merged", count=3)
    assert state.result(JOB, None) == state.result(JOB, "bespoke.memories.store") == expected


def test_fields_of_a_newer_worker_are_ignored() -> None:
    content = {"task": "bespoke.memories.store", "result": STORED | {"mood": "good"}}
    decode(JOB, meta("SUCCESS", content)).result(JOB, None)


@pytest.mark.parametrize(
    ("content", "expected", "problem"),
    [
        ({"task": "bespoke.none.such", "result": {}}, None, "'bespoke.none.such'"),
        (
            {"task": "bespoke.memories.count", "result": {"count": 1}},
            "bespoke.memories.store",
            "ex",
        ),
        ({"task": "bespoke.memories.count", "result": {"count": SECRET}}, None, "count: Input"),
        ({"task": "bespoke.memories.count"}, None, "the result: Input"),
        ({"answer": 7}, None, "None"),
        (None, None, "None"),
    ],
)
def test_an_answer_that_does_not_fit_is_a_bad_result(
    content: Any, expected: str | None, problem: str
) -> None:
    with pytest.raises(BadResult, match=problem) as caught:
        decode(JOB, meta("SUCCESS", content)).result(JOB, expected)
    assert str(JOB) in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", [b"", b"\x80", b"[]", b"7", b"{}", b'{"status": []}'])
def test_an_entry_that_no_worker_wrote_is_a_bad_result(entry: bytes) -> None:
    with pytest.raises(BadResult, match="not a worker's"):
        decode(JOB, entry)


@pytest.mark.parametrize(
    ("content", "error_type", "reason"),
    [
        ({"exc_type": "Refused", "exc_message": ["no such program"]}, "Refused", "no such program"),
        ({"exc_type": "Refused", "exc_message": "two\nlines"}, "Refused", "two lines"),
        ({"exc_type": "Refused", "exc_message": []}, "Refused", "no reason was given"),
        ({}, "Error", "None"),
        ("text", "Error", "text"),
    ],
)
def test_a_failure_is_one_line(content: Any, error_type: str, reason: str) -> None:
    state = decode(JOB, meta("FAILURE", content))
    with pytest.raises(JobFailed) as caught:
        state.result(JOB, None)
    assert (caught.value.error_type, caught.value.reason) == (error_type, reason)
    assert str(caught.value) == f"job {JOB} failed: {error_type}: {reason}"


def test_a_cancelled_job_has_no_result() -> None:
    with pytest.raises(JobCancelled, match=str(JOB)):
        decode(JOB, meta("REVOKED")).result(JOB, None)


def test_a_state_shows_no_answer() -> None:
    state = State(Status.SUCCEEDED, "bespoke.memories.count", answer={"count": SECRET})
    assert SECRET not in repr(state)
    assert isinstance(JOB, UUID)
