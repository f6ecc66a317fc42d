"""Programs of an application that misbehaves, for tests."""

from typing import Any

import dspy

import bespoke_workers
from examples.support_desk import task

SECRET = "the customer's secret"


def failing_metric(example: Any, prediction: Any, trace: object = None) -> bool:
    raise KeyError(SECRET)


def fussy_metric(example: Any, prediction: Any, trace: object = None) -> bool:
    if prediction.label == example.label:
        raise ValueError(SECRET)
    return False


@bespoke_workers.program("failing-metric", inputs=["text"], metric=failing_metric)
class FailingMetric(task.Support):
    """Its metric raises on every example."""


@bespoke_workers.program("failing-program", inputs=["text"], metric=task.same_label)
class FailingProgram(task.Support):
    """Raises on every example."""

    def forward(self, text: str) -> dspy.Prediction:
        raise RuntimeError(f"{SECRET}: {text}")


@bespoke_workers.program("fussy", inputs=["text"], metric=fussy_metric)
class Fussy(task.Support):
    """Its metric raises on right answers."""


def metric_that_fears_poison(example: Any, prediction: Any, trace: object = None) -> bool:
    if example.label == "poison":
        raise ValueError(SECRET)
    return task.same_label(example, prediction)


@bespoke_workers.program("failing-on-label", inputs=["text"], metric=metric_that_fears_poison)
class FailingOnLabel(task.Support):
    """Its metric raises on the examples of one user."""
