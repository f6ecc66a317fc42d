"""A program of which one predictor is each user's own and the other one everybody's."""

from typing import Any

import dspy

import bespoke_workers
from bespoke_schemas import program_state

NAME = "desk"
SHARED = "topic"
OWN = "label.predict"


def same_label(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
    """Whether the label is right."""
    return bool(example.label == prediction.label)


@bespoke_workers.program(NAME, inputs=["text"], metric=same_label, own=["label"])
class Desk(dspy.Module):  # type: ignore[misc]  # dspy has no types
    """``text -> label``, by way of a topic."""

    def __init__(self) -> None:
        super().__init__()
        self.topic = dspy.Predict("text -> topic")
        self.label = dspy.ChainOfThought("text, topic -> label")

    def forward(self, text: str) -> Any:
        return self.label(text=text, topic=self.topic(text=text).topic)


def worded(words: str, demo: str = "invoice") -> dict[str, Any]:
    """Return a state whose predictors have these instructions, the shared one with a demo."""
    state = program_state.dump(Desk())
    for predictor in state.values():
        predictor["signature"]["instructions"] = words
    state[SHARED]["demos"] = [{"text": demo, "topic": demo}]
    return state
