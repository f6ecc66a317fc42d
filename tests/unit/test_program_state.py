"""Both sides of the queue make a module of a user's version and the shared base's alike."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

import dspy
import pytest

from bespoke_schemas import program_state
from bespoke_schemas.program_state import StateRefused
from tests.two_predictors import Triage, tame_state

OWN = ("explain.predict",)
WHOLE = program_state.fingerprint(Triage())
OF_OWN = program_state.fingerprint(Triage(), OWN)


@dataclass
class Version:
    user_id: str | None
    state: dict[str, Any]
    fingerprint: str


def worded(words: str) -> dict[str, Any]:
    """Return a state all of whose predictors have these instructions."""
    state: dict[str, Any] = tame_state()
    for predictor in state.values():
        predictor["signature"]["instructions"] = words
    return state


def users(state: dict[str, Any]) -> Version:
    """Return ada's version, which holds what is her own."""
    return Version("ada", program_state.own_part(Triage(), state, OWN), OF_OWN)


BASE = Version(None, worded("base"), WHOLE)


def words(module: dspy.Module) -> dict[str, str]:
    return {name: each.signature.instructions for name, each in module.named_predictors()}


def test_importing_it_needs_no_dspy() -> None:
    code = "import sys, bespoke_schemas.program_state as s; print('dspy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_a_user_s_version_holds_what_is_the_user_s_own() -> None:
    whole, part = users(worded("ada's")), users({OWN[0]: worded("ada's")[OWN[0]]})

    assert list(whole.state) == list(OWN)
    assert part == whole


def test_the_other_predictors_are_the_base_s() -> None:
    module = Triage()

    left_out = program_state.assemble(module, users(worded("ada's")), base=BASE, own=OWN)

    assert words(module) == {"classify": "base", "explain.predict": "ada's"}
    assert left_out == ()


def test_without_a_base_they_are_as_the_program_has_them() -> None:
    module = Triage()

    program_state.assemble(module, users(worded("ada's")), own=OWN)

    assert words(module)["classify"] == words(Triage())["classify"]


def test_the_base_itself_is_used_whole() -> None:
    module = Triage()

    program_state.assemble(module, BASE, own=OWN)

    assert set(words(module).values()) == {"base"}


def test_without_a_version_what_is_own_is_as_the_program_has_it() -> None:
    module, plain = Triage(), Triage()

    program_state.assemble(module, None, base=BASE, own=OWN)
    program_state.assemble(plain, None, base=BASE)

    assert words(module) == words(Triage()) | {"classify": "base"}
    assert words(plain) == words(Triage())


def test_a_version_from_before_the_program_was_divided_gives_what_is_own() -> None:
    module = Triage()

    program_state.assemble(module, Version("ada", worded("ada's"), WHOLE), base=BASE, own=OWN)

    assert words(module) == {"classify": "base", "explain.predict": "ada's"}


class SharedChanged(Triage):
    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict("text -> label, why")


class OwnChanged(Triage):
    def __init__(self) -> None:
        super().__init__()
        self.explain = dspy.ChainOfThought("text -> reason")


def test_another_shape_of_a_shared_predictor_leaves_the_user_s_own_usable() -> None:
    module = SharedChanged()

    left_out = program_state.assemble(module, users(worded("ada's")), base=BASE, own=OWN)

    assert words(module)["explain.predict"] == "ada's"
    assert words(module)["classify"] == words(SharedChanged())["classify"]
    assert left_out == ("classify",)


def test_another_shape_of_an_own_predictor_is_refused_and_changes_nothing() -> None:
    module = OwnChanged()

    with pytest.raises(StateRefused) as refused:
        program_state.assemble(module, users(worded("ada's")), base=BASE, own=OWN)

    assert str(refused.value) == (
        "the version was saved for another shape of the program: it has "
        "['explain.predict(text: str, label: str -> reasoning: str, reason: str)'], the program "
        "has ['explain.predict(text: str -> reasoning: str, reason: str)']; "
        "load it with the program that it was saved for, or optimize anew"
    )
    assert words(module) == words(OwnChanged())


def test_a_malformed_base_is_refused_and_changes_nothing() -> None:
    module, state = Triage(), worded("base")
    state["classify"]["signature"]["fields"].pop()

    with pytest.raises(StateRefused, match="predictor 'classify' has 1 fields"):
        program_state.assemble(
            module, users(worded("ada's")), base=Version(None, state, WHOLE), own=OWN
        )

    assert words(module) == words(Triage())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"classify": tame_state()["classify"]}, r"lacks predictors \['explain.predict'\]"),
        (tame_state() | {"x": tame_state()["classify"]}, r"unknown ones \['x'\]"),
    ],
)
def test_a_state_without_an_own_predictor_or_with_an_unknown_one_is_refused(
    state: dict[str, Any], message: str
) -> None:
    with pytest.raises(StateRefused, match=message):
        program_state.own_part(Triage(), state, OWN)


def test_a_fingerprint_of_other_predictors_than_the_state_is_refused() -> None:
    for odd in ("", WHOLE, "classify()", OF_OWN.replace("explain", "explains")):
        version = Version("ada", {OWN[0]: tame_state()[OWN[0]]}, odd)
        with pytest.raises(StateRefused):
            program_state.assemble(Triage(), version, own=OWN)


Tricky = Literal["a; explain.predict(b", "; "]


class WithTypes(Triage):
    def __init__(self) -> None:
        super().__init__()
        signature = dspy.Signature("text -> label").with_updated_fields("label", type_=Tricky)
        self.classify = dspy.Predict(signature)
        self.zeta = dspy.Predict("text -> label")


@pytest.mark.parametrize("own", [("classify",), ("zeta",), ("explain.predict", "zeta")])
def test_a_type_that_looks_like_another_predictor_never_gives_a_user_another_shape(
    own: tuple[str, ...],
) -> None:
    module = WithTypes()
    state = worded("ada's") | {"zeta": worded("ada's")["classify"]}
    version = Version("ada", state, program_state.fingerprint(module))

    try:
        program_state.assemble(module, version, own=own)
    except StateRefused:
        assert words(module) == words(WithTypes())
    else:
        assert {name for name, each in words(module).items() if each == "ada's"} == set(own)
