"""The support desk with a metric that says in words what was wanted, for tests."""

from typing import Any

import dspy

import bespoke_workers
from examples.support_desk import task
from tests.integration.optimizing import EXPLAINED


def judged(example: Any, prediction: Any, trace: object = None) -> dspy.Prediction:
    """Score an answer, and tell what was wanted where it was another."""
    right = task.same_label(example, prediction)
    feedback = "Right." if right else f"Wanted: {example.label}"
    return dspy.Prediction(score=float(right), feedback=feedback)


@bespoke_workers.program(EXPLAINED, inputs=["text"], metric=judged)
class Explained(task.Support):
    """The desk's program, judged in words."""
