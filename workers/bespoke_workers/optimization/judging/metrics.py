"""A program's metric as each optimizer calls it.

A metric returns a bool or a number or, with words for the optimizers that reflect on them,
something that has a ``score`` and a ``feedback``: a ``dspy.Prediction`` or a mapping.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dspy

Metric = Callable[..., Any]


def score_of(judged: Any) -> Any:
    """Return the score out of what a metric returned."""
    if isinstance(judged, Mapping):
        return judged["score"]
    return getattr(judged, "score", judged)


def scoring(metric: Metric) -> Metric:
    """Return the metric as most optimizers call it, which know nothing of feedback."""

    def scored(example: Any, prediction: Any, trace: Any = None) -> Any:
        return score_of(metric(example, prediction, trace))

    return scored


def reflecting(metric: Metric) -> Metric:
    """Return the metric as GEPA calls it: a number, and feedback where a predictor is judged.

    The metric is never shown a trace: with one, it may be stricter, and GEPA would compare
    scores that are not the same.
    """

    def reflected(
        example: Any,
        prediction: Any,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,
    ) -> Any:
        judged = metric(example, prediction)
        score = float(score_of(judged))
        feedback = _feedback(judged)
        if pred_name is None or feedback is None:
            return score
        return dspy.Prediction(score=score, feedback=feedback)

    return reflected


def _feedback(judged: Any) -> str | None:
    feedback = (
        judged.get("feedback") if isinstance(judged, Mapping) else getattr(judged, "feedback", None)
    )
    return None if feedback is None else str(feedback)
