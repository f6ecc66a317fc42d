"""What DSPy need not work out again is remembered, and every answer stays what it was."""

from collections import Counter
from typing import Any

import pytest
from dspy.adapters import utils
from dspy.clients import costs
from pydantic import BaseModel

from bespoke_workers.optimization.language_model import remembered


class Kind(BaseModel):
    name: str


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """What DSPy works out, counted, once it was made to remember."""
    worked_out: Counter[Any] = Counter()
    adapter, entry = _as_it_comes(utils.TypeAdapter), _as_it_comes(costs.model_info)

    def counting_adapter(kind: Any, *args: Any, **options: Any) -> Any:
        worked_out[kind] += 1
        return adapter(kind, *args, **options)

    def counting_entry(provider: str, model: str, *, namespaces: Any = None) -> Any:
        worked_out[model] += 1
        return entry(provider, model, namespaces=namespaces)

    monkeypatch.setattr(utils, "TypeAdapter", counting_adapter)
    monkeypatch.setattr(costs, "model_info", counting_entry)
    remembered.install()
    return worked_out


def _as_it_comes(found: Any) -> Any:
    """Return it without what a run in this process may have done to it."""
    return getattr(found, remembered.ANEW, found)


def test_a_text_costs_no_adapter_and_is_shown_as_it_was(counted: Counter[Any]) -> None:
    texts = ["plain", "", 'quoted "so"', "ümläut \u2028", "[1, 2]"]
    assert [utils.serialize_for_json(text) for text in texts] == texts
    assert counted[str] == 1


def test_what_is_no_text_is_worked_out_as_before(counted: Counter[Any]) -> None:
    class Text(str):
        __slots__ = ()

    for value, shown in [
        (3, 3),
        ([1, "a"], [1, "a"]),
        ({"a": {1}}, {"a": [1]}),
        (Kind(name="b"), {"name": "b"}),
        (Text("c"), "c"),
        (object, str(object)),
    ]:
        assert utils.serialize_for_json(value) == shown
        assert counted[type(value)] == 1


def test_a_model_is_looked_up_once(counted: Counter[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    first = costs.model_info("openai-chat", "of-our-own")
    assert costs.model_info("openai-chat", "of-our-own") == first == {}
    known = costs.model_info("openai-chat", "gpt-4o-mini")
    assert known["input_cost_per_token"] > 0
    assert costs.model_info("openai-chat", "gpt-4o-mini") == known
    assert costs.model_info("openai-chat", "gpt-4o-mini", namespaces=()) == {}
    assert counted == {str: 1, "of-our-own": 1, "gpt-4o-mini": 2}


def test_it_is_done_once_however_often_it_is_asked_for(counted: Counter[Any]) -> None:
    before = utils.TypeAdapter, costs.model_info
    remembered.install()
    assert (utils.TypeAdapter, costs.model_info) == before


def test_a_dspy_that_is_made_otherwise_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(utils, "TypeAdapter")
    monkeypatch.delattr(costs, "model_info")
    remembered.install()
    assert not hasattr(utils, "TypeAdapter")
    assert not hasattr(costs, "model_info")
