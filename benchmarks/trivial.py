"""A program that needs no language model, and is better with demonstrations than without."""

from typing import Any

import dspy

import bespoke_workers

NAME = "trivial"
MODULE = __name__
LABEL = "yes"


def same(example: Any, prediction: Any, trace: object = None) -> bool:
    """Return whether the label is right."""
    return bool(example.label == prediction.label)


@bespoke_workers.program(NAME, inputs=["text"], metric=same)
class Trivial(dspy.Module):  # type: ignore[misc]  # dspy ships no types
    """Answers right as soon as it has been taught anything."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("text -> label")

    def forward(self, text: str) -> Any:
        """Answer without asking anybody."""
        return dspy.Prediction(label=LABEL if self.predict.demos else "no")
