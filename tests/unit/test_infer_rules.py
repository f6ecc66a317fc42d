"""InferRules: one user's rules are in that user's version, and nowhere else in the process."""

import json
from typing import Any

import dspy

from bespoke_workers.optimization.optimizers.optimizers import compile_program
from bespoke_workers.programs import registry
from bespoke_workers.programs import state as states
from tests.two_predictors import NAME, Triage

MARKER = "marker-ada"
ASKED: dict[str, Any] = {
    "num_candidates": 3, "num_rules": 2, "max_bootstrapped_demos": 0, "max_labeled_demos": 2,
}  # fmt: skip


class Ruling(dspy.ChatAdapter):  # type: ignore[misc]  # dspy has no types
    """Finds a numbered rule each time it is asked; only the second one is of use."""

    def __init__(self) -> None:
        super().__init__()
        self.rules = 0

    def __call__(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        if "natural_language_rules" in signature.output_fields:
            self.rules += 1
            found = f"{MARKER} rule {(self.rules + 1) // 2}"  # of two predictors each
            return [{"reasoning": "", "natural_language_rules": found}]
        right = "rule 2" in signature.instructions
        return [dict.fromkeys(signature.output_fields, "right" if right else "wrong")]


def reasoned(example: Any, prediction: Any, trace: object = None) -> bool:
    """Whether the last step is right."""
    return bool(prediction.reason == example.label)


def compiled() -> Any:
    program = registry.get(NAME)
    train = [dspy.Example(text=str(n), label="right").with_inputs("text") for n in range(8)]
    lm = dspy.utils.DummyLM([{}])
    with dspy.context(lm=lm, adapter=Ruling(), num_threads=1):
        return compile_program("InferRules", states.fresh(program), reasoned, train, ASKED)


def wording(module: Any) -> str:
    return json.dumps([each.signature.instructions for _, each in module.named_predictors()])


def test_the_best_candidate_s_rules_are_the_program_s_and_nobody_else_s() -> None:
    before, shared = wording(Triage()), wording(states.fresh(registry.get(NAME)))

    made = compiled()

    assert wording(made.module).count(f"{MARKER} rule 2") == 2  # not the last one's
    assert f"{MARKER} rule 3" not in wording(made.module)
    assert [one.name for one in made.candidates] == ["rules 2", "rules 1", "rules 3"]
    assert wording(Triage()) == before
    assert wording(states.fresh(registry.get(NAME))) == shared
    assert MARKER not in before + shared


def test_the_rules_survive_being_saved_and_are_in_no_other_user_s_program() -> None:
    state = json.loads(json.dumps(states.dump(compiled().module)))
    fingerprint = states.fingerprint(Triage())
    adas, bobs = (states.fresh(registry.get(NAME)) for _ in range(2))

    states.apply(adas, state, fingerprint)

    assert MARKER in wording(adas)
    assert MARKER not in wording(bobs) + wording(Triage())


def test_dspy_s_own_would_leak() -> None:
    """Else the tests above could not fail."""

    class Leaky(dspy.Module):  # type: ignore[misc]  # dspy has no types
        def __init__(self) -> None:
            super().__init__()
            self.classify = dspy.Predict(Label)

        def forward(self, text: str) -> Any:
            return self.classify(text=text)

    class Label(dspy.Signature):  # type: ignore[misc]  # dspy has no types
        """Label the text."""

        text: str = dspy.InputField()
        label: str = dspy.OutputField()

    train = [dspy.Example(text=str(n), label="right").with_inputs("text") for n in range(4)]
    with dspy.context(lm=dspy.utils.DummyLM([{}]), adapter=Ruling(), num_threads=1):
        dspy.InferRules(metric=registry.get(NAME).metric, **ASKED).compile(Leaky(), trainset=train)
    assert MARKER in wording(Leaky())
