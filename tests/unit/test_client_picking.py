"""An application without an embedder asks workers for a request's vector, and picks by itself."""

import asyncio
import base64
from typing import Any
from uuid import uuid4

import dspy
from dspy.utils import DummyLM

from bespoke_client import examples, programs
from bespoke_client.errors import ResultTimeout
from bespoke_client.testing import RecordingAsyncClient, RecordingClient
from bespoke_schemas import program_state
from bespoke_workers.memories import lexical
from tests.unit.test_client_programs import LONG, version
from tests.unit.test_picking import KIND, TEXTS, AwaitedTriage, Seen, a_part, a_state, expected

REGISTER = {"triage": AwaitedTriage}
ASKED = TEXTS[4]


def embedded(payload: examples.Embed) -> examples.Embedded:
    """Answer as workers do."""
    (vector,) = lexical.embed([payload.text]).astype("<f2")
    encoded = base64.b64encode(vector.tobytes()).decode()
    return examples.Embedded(embedder=KIND[0], dim=KIND[1], vector=encoded)


def answering(client: Any, answer: Any = embedded) -> Any:
    loaded = programs.Loaded(version=version("", state=a_state(a_part())))
    client.answer(programs.LoadActive, lambda _: loaded)
    client.answer(examples.Embed, answer)
    return client


def away(_: examples.Embed) -> examples.Embedded:
    raise ResultTimeout(uuid4(), LONG)


def called(module: Any) -> list[tuple[str, list[str]]]:
    adapter = Seen()
    with dspy.context(lm=DummyLM([{}]), adapter=adapter):
        module(text=ASKED)
    return adapter.seen


async def awaited(module: Any) -> list[tuple[str, list[str]]]:
    adapter = Seen()
    with dspy.context(lm=DummyLM([{}]), adapter=adapter):
        await module.acall(text=ASKED)
    return adapter.seen


def asked_of(client: Any) -> list[tuple[str | None, str]]:
    return [(one.user_id, one.text) for one in client.enqueued if isinstance(one, examples.Embed)]


def test_a_request_is_embedded_by_workers_and_its_demos_picked_here() -> None:
    client = answering(RecordingClient())
    module = programs.Programs(client, REGISTER, timeout=LONG).for_user("triage", "ada")
    assert asked_of(client) == []

    assert called(module) == [(ASKED, expected(ASKED))]
    assert asyncio.run(awaited(module)) == [(ASKED, expected(ASKED))]
    assert asked_of(client) == [("ada", ASKED)] * 2
    assert program_state.dump(module) == a_state(a_part())


def test_awaited_requests_are_embedded_on_the_loop_and_those_of_threads_too() -> None:
    client = answering(RecordingAsyncClient())

    async def serve() -> None:
        here = programs.AsyncPrograms(client, REGISTER, timeout=LONG)
        module = await here.for_user("triage", "ada")
        assert await awaited(module) == [(ASKED, expected(ASKED))]
        assert await asyncio.to_thread(called, module) == [(ASKED, expected(ASKED))]
        assert called(module) == [(ASKED, ["fixed"])]  # it must not wait for its own loop

    asyncio.run(serve())


def test_while_workers_are_away_requests_have_fixed_demos_and_only_the_first_one_waits() -> None:
    client = answering(RecordingClient(), away)
    module = programs.Programs(client, REGISTER, timeout=LONG).for_user("triage", "ada")

    assert [called(module) for _ in range(3)] == [[(ASKED, ["fixed"])]] * 3
    assert len(asked_of(client)) == 1


def test_the_vector_of_another_embedder_picks_nothing() -> None:
    def other(payload: examples.Embed) -> examples.Embedded:
        return embedded(payload).model_copy(update={"embedder": "another"})

    def garbled(payload: examples.Embed) -> examples.Embedded:
        return embedded(payload).model_copy(update={"vector": "AAAA"})

    for answer in (other, garbled):
        client = answering(RecordingClient(), answer)
        module = programs.Programs(client, REGISTER, timeout=LONG).for_user("triage", "ada")
        assert called(module) == [(ASKED, ["fixed"])]
