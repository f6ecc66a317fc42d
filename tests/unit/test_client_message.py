import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bespoke_client import PayloadTooLarge, memories, programs
from bespoke_client import message as messages
from bespoke_client.message import message
from bespoke_client.testing import RecordingClient
from bespoke_schemas import Payload

SECRET = "never-to-be-shown"


def test_a_message_carries_the_payload_as_plain_json() -> None:
    payload = memories.Store(user_id="ada", content="Prefers dark mode", tags=("ui",))
    sent = message(payload)
    assert (sent.task, sent.id) == ("bespoke.memories.store", str(payload.id))
    assert json.loads(json.dumps(sent.kwargs)) == {"payload": payload.model_dump(mode="json")}


@given(st.text(min_size=1, max_size=200), st.dictionaries(st.text(max_size=9), st.integers()))
def test_what_validates_survives_the_wire(content: str, metadata: dict[str, Any]) -> None:
    try:
        payload = memories.Store(user_id="ada", content=content, metadata=metadata)
    except ValidationError:
        return
    wire = json.dumps(message(payload).body)
    assert memories.Store.model_validate_json(wire) == payload


def test_representations_hide_contents() -> None:
    payload = memories.Store(user_id="ada", content=SECRET)
    client = RecordingClient()
    for shown in (
        payload,
        message(payload),
        client.enqueue(payload),
        client,
        message(payload).shown,
    ):
        assert SECRET not in repr(shown)
        assert not re.search(r"\bada\b", repr(shown))


@pytest.mark.parametrize("wrong", ["text", 7, None, {"user_id": "ada"}, memories.Store])
def test_what_is_no_payload_is_named(wrong: object) -> None:
    client = RecordingClient()
    with pytest.raises(TypeError, match=f"expected a payload .* got {type(wrong).__name__!r}"):
        client.enqueue(wrong)  # type: ignore[arg-type]  # the point
    assert client.enqueued == []


def test_a_payload_without_a_task_is_no_payload() -> None:
    class Half(Payload[memories.Stored]):
        pass

    with pytest.raises(TypeError, match="'Half'"):
        message(Half())


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": "lone \ud800 surrogate"},
        {"content": "a NUL \x00"},
        {"content": " "},
        {"content": "x" * 40_000},
        {"user_id": ""},
        {"user_id": "x" * 300},
        {"metadata": {"a": float("nan")}},
        {"metadata": {"a": {1, 2}}},
        {"unknown": "field"},
    ],
)
def test_what_does_not_validate_is_refused_without_its_contents(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        memories.Store(**({"user_id": "ada", "content": SECRET} | wrong))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", ["a NUL \x00", float("nan"), "lone \ud800", {1, 2}])
def test_what_was_spoiled_after_it_was_made_reaches_no_broker(value: Any) -> None:
    client = RecordingClient()
    payload = memories.Store(user_id="ada", content="x")
    payload.metadata["spoiled"] = value
    with pytest.raises(ValidationError):
        client.enqueue(payload)
    with pytest.raises(ValidationError):
        client.enqueue_many([memories.Store(user_id="ada", content="x"), payload])
    unchecked = payload.model_copy(update={"metadata": {}, "content": ""})
    with pytest.raises(ValidationError):
        client.enqueue(unchecked)
    assert client.enqueued == []


def test_a_payload_larger_than_a_message_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MESSAGE_LIMIT", 1000)
    with pytest.raises(PayloadTooLarge, match=r"bytes of JSON, .* at most 1000; split") as caught:
        message(programs.Save(program="support", state={"demo": SECRET * 100}))
    assert caught.value.size > 1000
    assert SECRET not in str(caught.value)
