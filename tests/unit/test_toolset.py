"""The tools of an agent: bound to a user, and clear about what is wrong."""

import asyncio
import logging
from typing import Any
from uuid import UUID

import dspy
import pytest
from pydantic import ValidationError

from bespoke_client import MemoryToolset, memories
from bespoke_client.testing import RecordingClient
from bespoke_schemas import Payload, Result
from bespoke_schemas.memories import Counted, Store, Stored
from bespoke_schemas.toolset import NAMES, MemoryTools, Tool, ToolRefused

ID = UUID(int=7)


class Refused(Exception):
    """Named as the workers' own."""


def tool(name: str, answer: Any) -> tuple[Tool, list[Payload[Any]]]:
    """Return a tool whose jobs have this answer, and the list of their payloads."""
    asked: list[Payload[Any]] = []

    def ask(payload: Payload[Any]) -> Result:
        asked.append(payload)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Result)
        return answer

    (one,) = MemoryTools("ada", ask, only=[name]).tools
    return one, asked


def test_no_argument_of_any_tool_names_a_user() -> None:
    tools = [dspy.Tool(one) for one in MemoryTools("ada", lambda _: Counted(count=0)).tools]
    assert [one.name for one in tools] == list(NAMES)
    for one in tools:
        assert not any("user" in argument for argument in one.args)
        assert one.desc
        assert not one.has_kwargs
    count, asked = tool("count", Counted(count=1))
    assert count() == "1 memory"
    assert [payload.subject() for payload in asked] == ["ada"]
    answer = count(user_id="grace")
    assert answer == "error: got an unexpected keyword argument 'user_id'; count takes no arguments"
    assert len(asked) == 1


def test_what_is_stored_is_told_with_its_id_and_what_made_room() -> None:
    room = memories.Compaction(total_compacted=2)
    stored = Stored(memory_id=ID, outcome="merged", count=3, compaction=room)
    store, asked = tool("store", stored)
    answer = store("Likes tea", tags="taste")
    assert answer.startswith(f"stored as {ID}, merged")
    assert answer.endswith("2 memories went to the archive")
    (payload,) = asked
    assert isinstance(payload, Store)
    assert (payload.content, payload.tags) == ("Likes tea", ("taste",))


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("store", {"content": " "}, "error: content: is blank; give at least one visible"),
        ("store", {}, "error: missing a required argument: 'content'; store takes content"),
        ("retrieve", {"memory_id": "7"}, "error: memory_id: got '7', expected an id"),
        ("search", {"query": "x", "limit": 0}, "error: limit: Input should be greater"),
        ("update", {"memory_id": str(ID)}, "error: changes nothing; give content"),
        ("store", {"content": "x", "tags": 5}, "error: "),
    ],
    ids=["blank", "missing", "id", "limit", "nothing", "type"],
)
def test_a_wrong_argument_is_named_and_nothing_is_asked(
    name: str, arguments: dict[str, Any], said: str
) -> None:
    one, asked = tool(name, Counted(count=0))
    assert one(**arguments).startswith(said)
    assert asked == []


def test_a_missing_memory_is_told() -> None:
    for name, answer in (
        ("retrieve", memories.Got(memory=None)),
        ("metadata", memories.Got(memory=None)),
        ("update", memories.Updated(memory=None)),
        ("delete", memories.Deleted(deleted=False)),
    ):
        one, _ = tool(name, answer)
        more = {"content": "x"} if name == "update" else {}
        assert one(str(ID), **more).startswith(f"error: there is no memory {ID}")


def test_a_failure_is_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        one, _ = tool("count", KeyError("postgresql://bespoke:secret@db"))
        assert one() == "error: the memories cannot be used at the moment; go on without them"
        late, _ = tool("count", TimeoutError("secret"))
        assert late().startswith("error: no answer in time")
    assert "count: KeyError" in caplog.text
    assert "secret" not in caplog.text
    refused, _ = tool("count", ToolRefused("max_memories: got 0"))
    assert refused() == "error: max_memories: got 0"


def test_tools_can_be_chosen_and_named_apart() -> None:
    tools = MemoryTools("ada", lambda _: Counted(count=2), prefix="memory_", only=["list", "count"])
    assert [one.__name__ for one in tools.tools] == ["memory_list", "memory_count"]
    assert dspy.Tool(tools.tools[1])() == "2 memories"
    assert asyncio.run(tools.async_tools[1]()) == "2 memories"
    with pytest.raises(ValueError, match="only: got 'drop', allowed: store, "):
        MemoryTools("ada", lambda _: Counted(count=2), only=["drop"])
    with pytest.raises(ValidationError):
        MemoryTools("", lambda _: Counted(count=2))


def test_a_client_has_the_jobs_done_by_workers() -> None:
    client = RecordingClient()
    client.answer(memories.Count, Counted(count=4))
    client.answer(memories.Get, Refused("it is refused"))
    retrieve, count = MemoryToolset("ada", client, only=["retrieve", "count"]).tools
    assert count() == "4 memories"
    assert retrieve(str(ID)) == "error: it is refused"
    assert [payload.subject() for payload in client.enqueued] == ["ada", "ada"]
