"""Modules that are kept and lent: copies share nothing that matters, and there is a bound."""

import threading
from typing import Any, Literal

import dspy
import pytest

from bespoke_schemas.program_state import Master, Masters, apply, copier, dump, fingerprint
from tests.two_predictors import Triage, tame_state


def triage() -> Any:
    module = Triage()
    apply(module, tame_state(), fingerprint(module))
    return module


def master(made_of: object = 1, state_bytes: int = 10) -> Master:
    return Master(Triage, made_of, state_bytes)


def test_whatever_a_borrower_changes_the_next_one_gets_what_was_stored() -> None:
    kept = Master(triage, 1)
    first: Any = kept.lend()
    before = dump(first)

    first.classify.demos[0]["label"] = "changed"
    first.classify.demos.append({"text": "more"})
    first.classify.signature.instructions = "Changed in place."
    first.classify.signature.fields["text"].json_schema_extra["prefix"] = "Changed:"
    first.explain.predict.demos = [{"text": "x"}]
    first.classify.config["temperature"] = 1
    first.history.append("a conversation")
    first.classify.lm = object()
    first.explain = None

    second: Any = kept.lend()
    assert dump(second) == before
    assert (second.classify.config, second.history, second.classify.lm) == ({}, [], None)
    assert second is not first


def test_a_class_s_own_signature_is_not_changed_through_a_borrower() -> None:
    class Label(dspy.Signature):  # type: ignore[misc]  # dspy has no types
        """Label it."""

        text: str = dspy.InputField()
        label: str = dspy.OutputField()

    borrowed: Any = Master(lambda: dspy.Predict(Label), 1).lend()
    borrowed.signature.instructions = "Changed."
    borrowed.signature.fields["text"].json_schema_extra["desc"] = "Changed."

    assert Label.instructions == "Label it."
    assert Label.fields["text"].json_schema_extra["desc"] == "${text}"


def test_a_borrowed_predictor_has_the_stored_one_s_fields_types_and_wording() -> None:
    class Rated(dspy.Signature):  # type: ignore[misc]  # dspy has no types
        """Rate it."""

        text: str = dspy.InputField(desc="what they wrote")
        stars: Literal[1, 2, 3] = dspy.OutputField()
        why: list[str] | None = dspy.OutputField(desc="reasons")

    stored = dspy.ChainOfThought(Rated)
    borrowed: Any = Master(lambda: stored, 1).lend()

    assert fingerprint(borrowed) == fingerprint(stored)
    assert dump(borrowed) == dump(stored)
    assert list(borrowed.predict.signature.fields) == ["text", "reasoning", "stars", "why"]
    messages = [
        dspy.ChatAdapter().format(each.predict.signature, [], {"text": "x"})
        for each in (stored, borrowed)
    ]
    assert messages[0] == messages[1]


class Called(dspy.utils.BaseCallback):  # type: ignore[misc]  # dspy has no types
    """A callback that holds what cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Tooled(dspy.Module):  # type: ignore[misc]  # dspy has no types
    """A module with a callback, a language model of its own, and a tool bound to itself."""

    def __init__(self) -> None:
        super().__init__(callbacks=[Called()])
        self.seen: list[str] = []
        self.predict = dspy.Predict("text -> label")
        self.predict.lm = dspy.LM("openai/of-its-own", api_key="none")
        self.look_up = dspy.Tool(self.note, name="note")

    def note(self, text: str) -> str:
        """Note it."""
        self.seen.append(text)
        return text


def test_a_copy_keeps_callbacks_and_language_models_and_binds_tools_to_itself() -> None:
    module = Tooled()
    twin: Any = copier(module)()

    assert twin.callbacks == module.callbacks
    assert twin.callbacks is not module.callbacks
    assert twin.predict.lm is module.predict.lm
    twin.look_up(text="mine")
    assert (twin.seen, module.seen) == (["mine"], [])


def test_a_module_that_cannot_be_copied_is_made_anew_for_each_borrower(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made: list[Any] = []

    def build() -> Any:
        module = triage()
        module.lock = threading.Lock()
        made.append(module)
        return module

    kept = Master(build, 1)
    lent: list[Any] = [kept.lend(), kept.lend()]

    assert len(made) == 3
    assert lent[0] is not lent[1]
    assert dump(lent[0]) == dump(lent[1])
    assert caplog.text == ""


def test_the_least_recently_used_goes_when_there_are_too_many() -> None:
    masters: Masters[Master] = Masters(size=2)
    for user in ("ada", "bob"):
        masters.put(("triage", user), master())
    masters.get(("triage", "ada"))
    masters.put(("triage", "carol"), master())

    assert masters.get(("triage", "bob")) is None
    assert masters.get(("triage", "ada")) is not None
    assert masters.get(("triage", "carol")) is not None
    stats = masters.stats()
    assert (stats.size, stats.evictions, stats.state_bytes) == (2, 1, 20)


def test_the_least_recently_used_go_when_their_states_are_too_large() -> None:
    masters: Masters[Master] = Masters(size=10, states_limit=100)
    for user in ("ada", "bob", "carol"):
        masters.put(("triage", user), master(state_bytes=40))
    assert masters.get(("triage", "ada")) is None

    masters.put(("triage", "dora"), master(state_bytes=500))
    stats = masters.stats()
    assert (stats.size, stats.evictions, stats.state_bytes) == (1, 3, 500)


def test_another_version_takes_the_place_of_the_one_before() -> None:
    masters: Masters[Master] = Masters()
    masters.put(("triage", "ada"), master(made_of=1, state_bytes=10))
    masters.put(("triage", "ada"), master(made_of=1, state_bytes=10))
    masters.put(("triage", "ada"), master(made_of=2, state_bytes=30))

    stats = masters.stats()
    assert (stats.size, stats.invalidated, stats.state_bytes) == (1, 1, 30)


def test_a_user_is_forgotten_in_all_programs_and_nobody_else() -> None:
    masters: Masters[Master] = Masters()
    for key in (("triage", "ada"), ("desk", "ada"), ("triage", "bob"), ("triage", None)):
        masters.put(key, master())
    masters.forget("ada")

    assert masters.stats().size == 2
    assert masters.get(("triage", None)) is not None
    masters.forget(None)
    assert (masters.stats().size, masters.stats().state_bytes) == (0, 0)


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Masters(size=0)
