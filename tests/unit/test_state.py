"""A state goes through a whitelist, and only into a program of its own shape."""

import json
import pickle
from collections.abc import Callable
from typing import Any, Literal

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.programs import registry, state
from bespoke_workers.programs.registry import Program
from tests.two_predictors import NAME, TRAP, Triage, exact, hostile_state, tame_state


def program(factory: Callable[[], Any]) -> Program:
    return Program(NAME, factory, ("text",), exact)


def triage() -> Any:
    return state.fresh(registry.get(NAME))


def test_nothing_but_demos_and_wording_survives() -> None:
    assert state.clean_state(hostile_state()) == tame_state()


def test_a_hostile_state_leaves_a_program_callable_without_a_language_model_of_its_own() -> None:
    module = triage()

    state.apply(module, hostile_state(), state.fingerprint(module))

    assert module.classify.lm is None
    assert module.classify.config == {}
    assert callable(module.classify.forward)
    assert type(module.classify) is dspy.Predict
    assert TRAP not in json.dumps(module.dump_state())
    assert state.dump(module) == tame_state()


class Calibrated(dspy.Module):  # type: ignore[misc]  # dspy has no types
    """A program that brings its own language model, and an anchoring of its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.judge = dspy.Predict("text -> ok: bool")
        self.judge.lm = dspy.LM("openai/own", api_key=TRAP)
        self.judge.fields = {"ok": {"threshold": 0.7}}


def test_what_the_class_itself_gives_its_predictors_is_left_to_them() -> None:
    module = state.fresh(program(Calibrated))
    dumped = state.dump(module)
    hostile = {
        "judge": {**dumped["judge"], "lm": {"model": "x"}, "fields": {"ok": {"threshold": 0}}}
    }

    state.apply(module, hostile, state.fingerprint(module))

    assert set(dumped["judge"]) == {"demos", "signature"}
    assert module.judge.lm.model == "openai/own"
    assert module.judge.fields == {"ok": {"threshold": 0.7}}


def test_what_a_program_dumps_is_what_another_one_takes() -> None:
    first, second = triage(), triage()
    first.classify.demos = [dspy.Example(text="lost card", label="card")]
    first.classify.signature = first.classify.signature.with_instructions("Be brief.")
    first.classify.lm = dspy.LM("openai/x", api_key=TRAP)

    state.apply(second, state.dump(first), state.fingerprint(first))

    assert state.dump(second) == state.dump(first)
    assert TRAP not in json.dumps(state.dump(first))
    assert second.classify.signature.instructions == "Be brief."


def test_a_bare_predictor_is_stored_under_self() -> None:
    module = state.fresh(program(lambda: dspy.Predict("text -> label")))
    module.demos = [{"text": "a", "label": "b"}]

    dumped = state.dump(module)

    assert list(dumped) == ["self"]
    assert state.clean_state(module.dump_state()) == dumped
    other = state.fresh(program(lambda: dspy.Predict("text -> label")))
    state.apply(other, dumped, state.fingerprint(module))
    assert state.dump(other) == dumped


def test_a_predictor_may_be_called_signature() -> None:
    odd = {"signature": tame_state()["classify"]}

    assert state.clean_state(odd) == odd


def with_(path: list[str | int], value: Any) -> dict[str, Any]:
    changed: Any = tame_state()
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return dict(changed)


@pytest.mark.parametrize(
    ("malformed", "message"),
    [
        ([], "state: got list, expected an object"),
        ({}, "state: holds no predictor; give what Module.dump_state() returns"),
        ({"forward": "x"}, "state: holds no predictor; give what Module.dump_state() returns"),
        (
            with_(["classify", "demos"], "abc"),
            "state['classify'].demos: got str, expected a list",
        ),
        (
            with_(["classify", "demos"], None),
            "state['classify'].demos: got nothing, expected a list",
        ),
        (
            with_(["classify", "demos", 0], "secret"),
            "state['classify'].demos[0]: got str, expected an object",
        ),
        (
            with_(["classify", "demos", 0, "text"], float("nan")),
            "state['classify'].demos[0]: float is not JSON",
        ),
        (
            with_(["classify", "demos", 0, "text"], object()),
            "state['classify'].demos[0]: object is not JSON",
        ),
        (
            with_(["classify", "demos", 0, "text"], b"\x80\x04."),
            "state['classify'].demos[0]: bytes is not JSON",
        ),
        (
            with_(["classify", "demos", 0, "text"], "nul\x00"),
            "state['classify'].demos[0]: holds a NUL character; remove it",
        ),
        (
            with_(["classify", "signature"], None),
            "state['classify'].signature: got nothing, expected an object",
        ),
        (
            with_(["classify", "signature", "instructions"], 3),
            "state['classify'].signature.instructions: got int, expected text",
        ),
        (
            with_(["classify", "signature", "fields", 1], []),
            "state['classify'].signature.fields[1]: got list, expected an object",
        ),
        (
            with_(["classify", "signature", "fields", 1, "prefix"], {}),
            "state['classify'].signature.fields[1].prefix: got dict, expected text",
        ),
    ],
)
def test_a_malformed_state_is_refused_at_its_place(malformed: Any, message: str) -> None:
    with pytest.raises(Refused) as refused:
        state.clean_state(malformed)

    assert str(refused.value) == message


def test_a_demo_nested_without_end_is_refused() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(Refused, match="nested deeper than 64 levels"):
        state.clean_state(with_(["classify", "demos", 0, "text"], deep))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text() | st.just("classify"), json_values, max_size=4))
def test_whatever_comes_is_refused_or_comes_out_clean(anything: dict[str, Any]) -> None:
    try:
        once = state.clean_state(anything)
    except Refused:
        return
    assert state.clean_state(once) == once
    assert all(set(predictor) == {"demos", "signature"} for predictor in once.values())


def test_the_fingerprint_tells_predictors_fields_types_and_roles_but_no_wording() -> None:
    module = triage()
    before = state.fingerprint(module)
    module.classify.signature = module.classify.signature.with_instructions("Other words.")
    module.classify.demos = [{"text": "a", "label": "b"}]

    assert state.fingerprint(module) == before
    assert before == (
        "classify(text: str -> label: str); "
        "explain.predict(text: str, label: str -> reasoning: str, reason: str)"
    )
    assert state.signature_text(module) == (
        "classify: text -> label; explain.predict: text, label -> reasoning, reason"
    )


class Typed(dspy.Signature):  # type: ignore[misc]  # dspy has no types
    """Label it."""

    text: str | None = dspy.InputField()
    scores: list[dict[str, float]] = dspy.InputField(desc=None)
    label: Literal["a", "b"] = dspy.OutputField()


def test_types_are_named_whatever_way_they_were_written() -> None:
    module = state.fresh(program(lambda: dspy.Predict(Typed)))

    assert state.fingerprint(module) == (
        "self(text: str | None, scores: list[dict[str, float]] -> label: Literal['a', 'b'])"
    )
    assert state.signature_text(module) == "text, scores -> label"
    state.apply(module, state.dump(module), state.fingerprint(module))


def test_long_types_and_signatures_are_cut_but_still_told_apart() -> None:
    def labelled(last: str) -> Any:
        labels = [f"label_{n}" for n in range(100)] + [last]
        kind = Literal[tuple(labels)]  # type: ignore[valid-type]  # made at run time
        return state.fresh(
            program(
                lambda: dspy.Predict(
                    dspy.Signature("text -> label").with_updated_fields("label", type_=kind)
                )
            )
        )

    one, two = state.fingerprint(labelled("x")), state.fingerprint(labelled("y"))
    assert one != two
    assert len(one) < 120

    fields = ", ".join(f"field_{n}" for n in range(100))
    wide = state.signature_text(state.fresh(program(lambda: dspy.Predict(f"{fields} -> label"))))
    assert len(wide) == state.SIGNATURE_LIMIT


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("text -> label, why", "classify(text: str -> label: str, why: str)"),
        ("message -> label", "classify(message: str -> label: str)"),
        ("text, label -> reason", "classify(text: str, label: str -> reason: str)"),
        ("text -> label: int", "classify(text: str -> label: int)"),
    ],
)
def test_a_state_of_another_shape_is_refused_saying_what_differs(
    signature: str, message: str
) -> None:
    class Changed(Triage):
        def __init__(self) -> None:
            super().__init__()
            self.classify = dspy.Predict(signature)

    module = state.fresh(program(Changed))
    before = state.dump(module)

    with pytest.raises(Refused) as refused:
        state.apply(module, tame_state(), state.fingerprint(triage()))

    assert str(refused.value) == (
        "the version was saved for another shape of the program: it has "
        f"['classify(text: str -> label: str)'], the program has [{message!r}]; "
        "load it with the program that it was saved for, or optimize anew"
    )
    assert state.dump(module) == before


def test_a_state_with_other_predictors_or_fields_does_not_fit() -> None:
    module = triage()
    without, extra = tame_state(), tame_state()
    del without["classify"]
    extra["forward"] = extra["classify"]
    short = with_(["classify", "signature", "fields"], [])

    for unfit, message in [
        (without, r"lacks predictors \['classify'\] and has unknown ones \[\]"),
        (extra, r"lacks predictors \[\] and has unknown ones \['forward'\]"),
        (short, r"predictor 'classify' has 0 fields, the program's has 2"),
    ]:
        with pytest.raises(Refused, match=message):
            state.apply(module, unfit, state.fingerprint(module))


def test_changing_one_module_s_signature_in_place_changes_no_other_one() -> None:
    first = triage()
    first.classify.signature.instructions = "rules learned from ada"

    assert "ada" not in json.dumps(state.dump(triage()))


def test_classes_that_cannot_be_made_are_named() -> None:
    def broken() -> Any:
        raise KeyError("secret")

    for factory, message in [
        (broken, "broken.* raised KeyError; it must be buildable without arguments"),
        (dict, r"builtins\.dict must be a dspy\.Module with a predictor"),
        (dspy.Module, "must be a dspy.Module with a predictor"),
    ]:
        with pytest.raises(Misconfigured, match=message):
            state.fresh(program(factory))


def test_a_pickle_is_no_state() -> None:
    with pytest.raises(Refused):
        state.clean_state(pickle.dumps(tame_state()))  # type: ignore[arg-type]  # that is the point
