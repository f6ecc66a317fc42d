"""What a worker does around a job: it validates again, keeps to the time, and tells no contents."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bespoke_schemas import memories, uuid7
from bespoke_workers import app
from bespoke_workers.errors import Permanent, Refused
from bespoke_workers.runtime import Runtime
from bespoke_workers.settings import Settings

SECRET = "my-secret-diagnosis"
PAYLOAD = memories.Store(user_id="ada", content="likes tea").model_dump(mode="json")


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime(Settings(), app.CeleryOutbox())
    yield made
    made.close()


def refusal(payload: Any, task_id: object = PAYLOAD["id"]) -> str:
    with pytest.raises(Refused) as refused:
        app._decoded(memories.Store, payload, str(task_id))
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_came_over_the_wire_is_decoded() -> None:
    assert app._decoded(memories.Store, PAYLOAD, PAYLOAD["id"]).model_dump(mode="json") == PAYLOAD


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"user_id": " "}, "user_id: Value error, is blank"),
        ({"content": SECRET + "\x00"}, "content: Value error, holds a NUL"),
        ({"metadata": {f"{SECRET}\n": float("nan")}}, "metadata: Input should be a finite number"),
        ({"tags": [SECRET, ""]}, "tags: String should have at least 1 character"),
        ({f"{SECRET}\n": 1}, "payload: Extra inputs are not permitted"),
        ({"id": SECRET}, "id: Input should be a valid UUID"),
    ],
)
def test_what_does_not_validate_is_refused_and_its_contents_are_not_told(
    wrong: dict[str, Any], told: str
) -> None:
    assert refusal(PAYLOAD | wrong).startswith(f"bespoke.memories.store: {told}")


@pytest.mark.parametrize("payload", [None, SECRET, [SECRET], 7])
def test_what_is_no_payload_at_all_is_refused(payload: object) -> None:
    assert refusal(payload).startswith("bespoke.memories.store: payload: ")


def test_a_payload_under_another_message_s_id_is_refused() -> None:
    assert refusal(PAYLOAD, uuid7()) == (
        "bespoke.memories.store: the payload's id is not the message's id"
    )


def test_an_outcome_names_its_kind_and_nothing_in_it() -> None:
    outcome = app.Outcome("bespoke.memories.count", memories.Counted(count=4711))

    assert repr(outcome) == str(outcome) == "Counted"
    assert outcome.__json__() == {"task": "bespoke.memories.count", "result": {"count": 4711}}


def test_a_job_that_takes_too_long_is_cancelled_and_told_so(runtime: Runtime) -> None:
    cleaned: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("up")

    with pytest.raises(Permanent, match=r"^stopped: the job took longer than 0\.01 seconds$"):
        runtime.run(hang(), seconds=0.01)
    assert cleaned == ["up"]


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_a_time_out_of_some_server_is_not_taken_for_the_job_s(
    runtime: Runtime, seconds: float | None
) -> None:
    async def fail() -> None:
        raise TimeoutError("the embedder did not answer")

    with pytest.raises(TimeoutError, match="embedder"):
        runtime.run(fail(), seconds=seconds)


def test_jobs_of_one_process_share_a_loop(runtime: Runtime) -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert runtime.run(loop()) is runtime.run(loop(), seconds=1.0)
