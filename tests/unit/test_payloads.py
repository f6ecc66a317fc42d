"""Every payload survives the wire, is frozen, and shows nothing of what is in it."""

import io
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

import bespoke_schemas
from bespoke_schemas import Payload, Result, memories, optimization, payload_type, payload_types
from bespoke_schemas.jobs import Status
from bespoke_schemas.queues import Queue
from tests.unit.strategies import payloads

TYPES = payload_types()
EACH = pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
SECRET = "my-secret-diagnosis"


def module_of(kind: type[Payload[Any]]) -> str:
    return kind.__module__.split(".")[1]


@EACH
@given(drawing=st.data())
@settings(max_examples=15)
def test_a_payload_comes_back_from_json_as_it_was(
    kind: type[Payload[Any]], drawing: st.DataObject
) -> None:
    payload = drawing.draw(payloads(kind))

    wire = json.dumps(payload.model_dump(mode="json")).encode()

    assert kind.model_validate(json.loads(wire)) == payload


@EACH
def test_a_task_is_named_after_its_module_and_its_payload(kind: type[Payload[Any]]) -> None:
    module, name = module_of(kind), kind.task.rpartition(".")[2]

    assert kind.task == f"bespoke.{module}.{name}"
    assert name == name.lower()
    assert name.replace("_", "") == kind.__name__.lower()
    assert payload_type(kind.task) is kind


def test_task_names_are_in_snake_case() -> None:
    assert memories.Store.task == "bespoke.memories.store"
    assert optimization.OptimizeUser.task == "bespoke.optimization.optimize_user"


@EACH
def test_a_payload_names_its_queue_and_its_result(kind: type[Payload[Any]]) -> None:
    assert isinstance(kind.queue, Queue)
    assert issubclass(kind.result_type, Result)
    assert kind.result_type is not Result


def test_there_is_a_payload_in_every_module() -> None:
    modules = {module_of(kind) for kind in TYPES.values()}

    assert modules >= {"memories", "programs", "examples", "optimization", "exports", "jobs"}


def test_an_unknown_task_has_no_payload() -> None:
    assert payload_type("bespoke.memories.forget_everything") is None


@EACH
@given(drawing=st.data())
@settings(max_examples=1)
def test_a_payload_is_frozen(kind: type[Payload[Any]], drawing: st.DataObject) -> None:
    payload = drawing.draw(payloads(kind))

    for name in kind.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(payload, name, getattr(payload, name))


@EACH
@given(drawing=st.data())
@settings(max_examples=1)
def test_a_payload_takes_no_field_that_it_does_not_know(
    kind: type[Payload[Any]], drawing: st.DataObject
) -> None:
    fields = drawing.draw(payloads(kind)).model_dump()

    with pytest.raises(ValidationError, match="Extra inputs") as refused:
        kind.model_validate({**fields, "surprise": SECRET})

    assert SECRET not in str(refused.value)


@EACH
@given(drawing=st.data())
@settings(max_examples=1)
def test_each_payload_gets_an_id_of_its_own(
    kind: type[Payload[Any]], drawing: st.DataObject
) -> None:
    fields = drawing.draw(payloads(kind)).model_dump(exclude={"id"})

    first, second = kind.model_validate(fields), kind.model_validate(fields)

    assert first.id != second.id
    assert first.id.version == 7
    assert kind.model_validate({**fields, "id": first.id}).id == first.id


def test_no_printer_shows_the_contents() -> None:
    payload = memories.Store(
        user_id=SECRET, content=SECRET, tags=(SECRET,), metadata={SECRET: SECRET}
    )
    paper = io.StringIO()
    Console(file=paper).print(payload)

    shown = [repr(payload), str(payload), f"{payload}", repr([payload]), paper.getvalue()]

    assert all(SECRET not in text for text in shown)
    assert repr(payload) == f"<bespoke.memories.store {payload.id}>"


def test_the_text_of_an_error_holds_no_contents() -> None:
    wrong: list[dict[str, Any]] = [
        {"user_id": SECRET, "content": SECRET * 10_000},
        {"user_id": SECRET + "\x00", "content": SECRET},
        {"user_id": [SECRET], "content": {"a": SECRET}},
        {"user_id": "ada", "content": SECRET, "id": SECRET},
        {"user_id": "ada", "content": SECRET, "metadata": {"a": SECRET + "\x00"}},
        {"user_id": "ada", "content": SECRET, "metadata": SECRET},
    ]
    for fields in wrong:
        with pytest.raises(ValidationError) as refused:
            memories.Store.model_validate(fields)
        assert SECRET not in str(refused.value)
        assert SECRET not in repr(refused.value)


def test_a_payload_knows_whom_it_is_about() -> None:
    assert memories.Count(user_id="ada").subject() == "ada"
    assert bespoke_schemas.programs.Load(program_id=uuid4()).subject() is None
    assert optimization.OptimizeTier(program="support", tier="basic").subject() is None


@EACH
def test_a_whole_number_is_at_most_what_the_database_holds(kind: type[Payload[Any]]) -> None:
    unbounded = [*_unbounded(kind.model_json_schema())]
    if kind is memories.SetPolicy:  # refused by the worker, which knows what a policy allows
        unbounded.remove("Max Memories")
        unbounded.remove("Max Age Days")
    assert unbounded == []


def _unbounded(schema: Any, title: str = "") -> Iterator[str]:
    """Yield the titles of the fields whose whole numbers have no maximum."""
    if isinstance(schema, list):
        for one in schema:
            yield from _unbounded(one, title)
    if isinstance(schema, dict):
        title = schema.get("title", title)
        if schema.get("type") == "integer" and schema.get("maximum", 2**63) >= 2**63:
            yield title
        for one in schema.values():
            yield from _unbounded(one, title)


def test_a_payload_must_say_what_it_answers() -> None:
    with pytest.raises(TypeError, match="inherit Payload"):

        class Nameless(Payload, queue=Queue.READS):  # type: ignore[type-arg]  # that is the mistake
            pass


def test_a_result_of_a_newer_worker_is_understood() -> None:
    counted = memories.Counted.model_validate({"count": 3, "since": "yesterday"})

    assert counted == memories.Counted(count=3)


def test_a_job_that_ended_never_has_another_status() -> None:
    assert {status for status in Status if status.final} == {
        Status.SUCCEEDED, Status.FAILED, Status.CANCELLED,
    }  # fmt: skip
