"""A small application's module: a program of two predictors, and a state of it full of traps."""

from typing import Any

import dspy

import bespoke_workers

NAME = "triage"
TRAP = "http://127.0.0.1:9/trap"


def exact(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
    """Whether the label is right."""
    return bool(example.label == prediction.label)


@bespoke_workers.program(NAME, inputs=["text"], metric=exact)
class Triage(dspy.Module):  # type: ignore[misc]  # dspy has no types
    """``text -> label``, and why."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict("text -> label")
        self.explain = dspy.ChainOfThought("text, label -> reason")

    def forward(self, text: str) -> Any:
        label = self.classify(text=text).label
        return self.explain(text=text, label=label)


def tame_state(demo: str = "card lost") -> dict[str, Any]:
    """Return a state as the whitelist leaves it."""
    return {
        "classify": {
            "demos": [{"text": demo, "label": "card", "augmented": True, "weight": 0.5}],
            "signature": {
                "instructions": "Label the text.",
                "fields": [
                    {"prefix": "Text:", "description": "what they wrote"},
                    {"prefix": "Label:", "description": "${label}"},
                ],
            },
        },
        "explain.predict": {
            "demos": [],
            "signature": {
                "instructions": "Say why.",
                "fields": [
                    {"prefix": f"{name.title()}:", "description": name}
                    for name in ("text", "label", "reasoning", "reason")
                ],
            },
        },
    }


def hostile_state() -> dict[str, Any]:
    """Return the same state with everything added that DSPy would load and nobody wants."""
    state: dict[str, Any] = tame_state()
    state["classify"] |= {
        "config": {"api_base": TRAP},
        "lm": {
            "model": "openai/x",
            "engine": TRAP,
            "fallbacks": [{"model": "x", "api_base": TRAP}],
            "mock_response": TRAP,
            "headers": {"authorization": TRAP},
            "api_key": TRAP,
            "api_base": TRAP,
        },
        "forward": TRAP,
        "traces": [TRAP],
        "train": [{"text": TRAP}],
        "__class__": TRAP,
        "callbacks": [TRAP],
    }
    state["classify"]["signature"]["fields"][0]["default_factory"] = TRAP
    state["classify"]["signature"]["extra"] = TRAP
    state["forward"] = TRAP
    state["metadata"] = {"dependency_versions": {"dspy": TRAP}}
    state["program.pkl"] = "gASVFAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOULg==" + TRAP
    return state
