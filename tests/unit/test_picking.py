"""Demos are picked for each request out of a pool that goes with the program's state."""

import asyncio
import base64
import copy
import json
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import numpy as np
import pytest
from dspy.utils import DummyLM

from bespoke_schemas import program_state
from bespoke_schemas.program_state import Kind, Pool, StateRefused, pool_part
from bespoke_workers.memories import lexical
from bespoke_workers.programs.requests import RequestEmbeds
from bespoke_workers.settings import Settings
from tests.two_predictors import Triage, tame_state

TEXTS = tuple(f"{word} number {number}" for number in range(5) for word in ("card", "loan", "rent"))
KIND: Kind = (lexical.NAME, lexical.DEFAULT.dim)


class Lexical:
    """Embeds requests as the default embedder does."""

    def embed(self, kind: Kind, text: str) -> Any:
        return lexical.embed([text])[0]

    async def aembed(self, kind: Kind, text: str) -> Any:
        await asyncio.sleep(0)  # so that other requests come between
        return self.embed(kind, text)


class Away(Lexical):
    """Embeds nothing."""

    def embed(self, kind: Kind, text: str) -> Any:
        return None


class Seen(dspy.ChatAdapter):  # type: ignore[misc]  # dspy has no types
    """Answers every predictor, and keeps with which demos each question came."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[str]]] = []

    def __call__(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        if "label" in signature.output_fields:
            self.seen.append((inputs["text"], [demo["text"] for demo in demos]))
        return [dict.fromkeys(signature.output_fields, "x")]

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self(*args, **kwargs)


class AwaitedTriage(Triage):
    """The same, for event loops."""

    async def aforward(self, text: str) -> Any:
        return await self.classify.acall(text=text)


def a_part(texts: tuple[str, ...] = TEXTS, k: int = 2) -> dict[str, Any]:
    demos = [{"text": text, "label": text.split()[0]} for text in texts]
    return pool_part(k, ["text"], KIND, demos, lexical.embed(texts))


def a_state(part: dict[str, Any]) -> dict[str, Any]:
    state = tame_state("fixed")
    state["classify"]["pool"] = part
    return state


def serving(embeds: Any, texts: tuple[str, ...] = TEXTS) -> Any:
    module = AwaitedTriage()
    program_state.apply(module, a_state(a_part(texts)), program_state.fingerprint(module))
    return program_state.pick(module, embeds)


def expected(text: str, texts: tuple[str, ...] = TEXTS) -> list[str]:
    similarity = lexical.embed(texts) @ lexical.embed([text])[0]
    return [texts[place] for place in np.argsort(-similarity, kind="stable")[:2][::-1]]


def called(module: Any, *args: Any, **inputs: Any) -> list[tuple[str, list[str]]]:
    adapter = Seen()
    with dspy.context(lm=DummyLM([{}]), adapter=adapter):
        module(*args, **inputs)
    return adapter.seen


def test_a_request_has_the_nearest_examples_as_demos_the_nearest_last() -> None:
    module = serving(Lexical())

    assert called(module, text=TEXTS[4]) == [(TEXTS[4], expected(TEXTS[4]))]
    assert called(module, TEXTS[7]) == [(TEXTS[7], expected(TEXTS[7]))]
    assert expected(TEXTS[4])[-1] == TEXTS[4]
    assert [demo["text"] for demo in module.classify.demos] == ["fixed"]


def test_requests_at_once_on_one_module_have_their_own_demos_each() -> None:
    module, adapter, workers = serving(Lexical()), Seen(), 8
    together = threading.Barrier(workers)

    def ask(number: int) -> None:
        together.wait()
        for turn in range(20):
            with dspy.context(lm=DummyLM([{}]), adapter=adapter):
                module(text=TEXTS[(number + turn) % len(TEXTS)])

    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(ask, range(workers)))

    assert len(adapter.seen) == workers * 20
    assert all(demos == expected(text) for text, demos in adapter.seen)


def test_awaited_requests_have_their_own_demos_each() -> None:
    module, adapter = serving(Lexical()), Seen()

    async def ask() -> None:
        with dspy.context(lm=DummyLM([{}]), adapter=adapter):
            await asyncio.gather(*(module.acall(text=text) for text in TEXTS * 3))

    asyncio.run(ask())

    assert len(adapter.seen) == 3 * len(TEXTS)
    assert all(demos == expected(text) for text, demos in adapter.seen)


def test_a_program_inside_another_one_s_request_sees_its_own_pool_alone() -> None:
    adas, bobs = serving(Lexical(), ("ada one", "ada two")), serving(Lexical(), ("bob one",) * 3)

    class Both(dspy.Module):  # type: ignore[misc]  # dspy has no types
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = adas, bobs

        def forward(self, text: str) -> Any:
            self.first(text=text)
            return self.second(text=text)

    for module in (Both(), program_state.pick(Both(), Lexical())):
        (_, first), (_, second) = called(module, text="one")
        assert {demo.split()[0] for demo in first} == {"ada"}
        assert {demo.split()[0] for demo in second} == {"bob"}


def test_a_request_that_cannot_be_embedded_has_the_fixed_demos() -> None:
    assert called(serving(Away()), text=TEXTS[0]) == [(TEXTS[0], ["fixed"])]
    assert called(serving(Lexical()), text="") == [("", ["fixed"])]


def test_the_pool_survives_being_dumped_and_applied_whichever_way() -> None:
    module = serving(Lexical())
    state = json.loads(json.dumps(program_state.dump(module)))
    assert state == a_state(a_part())
    assert program_state.clean_state(module.dump_state()) == state

    for twin in (program_state.copier(module)(), copy.deepcopy(module), module.deepcopy()):
        assert called(twin, text=TEXTS[4]) == [(TEXTS[4], expected(TEXTS[4]))]
        assert program_state.dump(twin) == state


def test_whoever_sets_demos_has_them() -> None:
    module = program_state.copier(serving(Lexical()))()
    module.classify.demos = [{"text": "mine", "label": "x"}]

    assert called(module, text=TEXTS[0]) == [(TEXTS[0], ["mine"])]
    assert "pool" not in program_state.dump(module)["classify"]
    assert called(serving(Lexical()).reset_copy(), text=TEXTS[0]) == [(TEXTS[0], [])]


def test_a_bare_predictor_picks_too() -> None:
    module = dspy.Predict("text -> label")
    state = {"self": a_state(a_part())["classify"]}
    program_state.apply(module, state, program_state.fingerprint(module))

    picking = program_state.pick(module, Lexical())

    assert called(picking, text=TEXTS[4]) == [(TEXTS[4], expected(TEXTS[4]))]


def a_vector(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}e", *numbers)).decode()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"k": 0}, "pool.k: got 0, expected 1 to 100"),
        ({"k": 10**9}, "pool.k: got 1000000000"),
        ({"k": True}, "pool.k: got bool"),
        ({"k": "2"}, "pool.k: got str"),
        ({"dim": -1}, "pool.dim: got -1"),
        ({"dim": 385}, "pool.vectors: expected 5775 float16"),
        ({"dim": 10**6}, "pool.dim: got 1000000, expected 1 to 8192"),
        ({"inputs": []}, "pool.inputs: as many: got 0"),
        ({"inputs": ["x"] * 65}, "pool.inputs: as many: got 65"),
        ({"inputs": "text"}, "pool.inputs: got str, expected a list"),
        ({"embedder": None}, "pool.embedder: got nothing, expected text"),
        ({"embedder": "x" * 201}, "pool.embedder: as many characters: got 201"),
        ({"embedder": "\x00"}, "NUL"),
        ({"demos": []}, "pool.demos: as many: got 0"),
        ({"demos": [{"text": "x"}] * 1001}, "pool.demos: as many: got 1001"),
        ({"demos": ["x"]}, "pool.demos[0]: got str, expected an object"),
        ({"demos": [{"text": float("nan")}]}, "pool.demos[0]: float is not JSON"),
        ({"vectors": None}, "pool.vectors: got nothing, expected text"),
        ({"vectors": "AAAA"}, "pool.vectors: expected 5760 float16"),
        ({"demos": [{"t": 1}], "dim": 2, "vectors": "\u00e9AAAAA=="}, "is no base64"),
        ({"demos": [{"t": 1}], "dim": 2, "vectors": "?AAAAA=="}, "is no base64"),
        ({"demos": [{"t": 1}], "dim": 2, "vectors": "AAAAAAA="}, "expected 2 float16"),
        ({"demos": [{"t": 1}], "dim": 2, "vectors": a_vector(1, float("nan"))}, "not finite"),
        ({"demos": [{"t": 1}], "dim": 2, "vectors": a_vector(-float("inf"), 1)}, "not finite"),
    ],
)
def test_a_pool_that_is_not_as_it_must_be_is_refused_with_its_place(
    changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(StateRefused) as refused:
        program_state.clean_state(a_state({**a_part(), **changed}))

    assert told in str(refused.value)
    assert len(str(refused.value)) < 300


def test_nothing_else_of_a_pool_is_kept() -> None:
    hostile = {**a_part(), "lm": {"api_base": "x"}, "forward": "x", "__class__": "x", "config": {}}

    state = program_state.clean_state(a_state(hostile))

    assert state == a_state(a_part())


def test_a_vector_of_nothing_is_near_to_nothing() -> None:
    part = pool_part(1, ["text"], ("e", 2), [{"t": 0}, {"t": 1}], [[0.0, 0.0], [6e4, 6e4]])

    assert Pool(part).nearest([1, 1]) == [{"t": 1}]
    with pytest.raises(ValueError, match="expected 2 finite numbers"):
        Pool(part).nearest([1, float("nan")])


def test_no_embedder_is_loaded_because_a_state_names_it() -> None:
    embeds = RequestEmbeds(Settings(database_url="postgresql://x/y"))

    assert embeds.embed(("tests.slow_embedder:embed", KIND[1]), "text") is None
    assert embeds.embed(("os:system", KIND[1]), "text") is None
    assert embeds.embed((lexical.NAME, 7), "text") is None
    assert "tests.slow_embedder" not in sys.modules
    vector = embeds.embed(KIND, "text")
    assert vector is not None
    assert vector.shape == (KIND[1],)
