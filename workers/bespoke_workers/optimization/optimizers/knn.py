"""KNNFewShot: the demos of each request are the examples nearest to its inputs.

DSPy's own returns a program with a patched ``forward`` that has an LM answer the examples
nearest to a request anew at each request, and that is lost when the program is saved. Here the
examples become a pool in the program's state: as they are labelled, or answered once.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import dspy
import numpy as np
from pydantic_core import to_jsonable_python

from bespoke_schemas.program_state import (
    POOL_LIMIT,
    Embeds,
    Kind,
    Pool,
    embedded_text,
    give_pool,
    pick,
    pool_part,
)
from bespoke_workers.errors import Refused

PICKS: Final = 8
"""Demos that a request shows: half of LabeledFewShot's, since these are the ones that fit it."""
POOL_BYTES: Final = 4 * 2**20
"""Of all pools of a program, as JSON; half of what a state may have."""

Demos = dict[str, dict[str, Any]]
"""One example as a demo of each predictor that it is one for."""


class Vectors(Embeds, Protocol):
    """The vectors of a user's examples, and what embeds other texts."""

    @property
    def kind(self) -> Kind:
        """Which embedder they are of."""

    def of(self, texts: Sequence[str]) -> Any:
        """Return an array with a row for each of the examples' texts."""


def compile_program(
    student: Any,
    metric: Callable[..., Any],
    train: Sequence[Any],
    vectors: Vectors,
    *,
    k: int = PICKS,
    max_bootstrapped_demos: int = 0,
    metric_threshold: float | None = None,
) -> Any:
    """Give the student's predictors pools of ``train``, and have it pick from them.

    No LM is called, unless ``max_bootstrapped_demos`` of the examples, the newest, are to be
    answered by the program: where ``metric`` accepts its answer, all that it said on the way is
    shown. Raises Refused where no predictor has fields of the examples.
    """
    newest = list(train)[-POOL_LIMIT:]
    inputs = tuple(newest[0].inputs().keys())
    texts = [embedded_text(inputs, example) or "" for example in newest]
    rows = vectors.of(texts)
    labelled = [_labelled(student, example) for example in newest]
    demos = list(labelled)
    for place in range(max(0, len(newest) - max_bootstrapped_demos), len(newest)):
        near = [labelled[other] for other in _nearest(rows, place, k)]
        answered = _answered(student, newest[place], near, metric, metric_threshold)
        demos[place] = answered or labelled[place]
    kept = _fitting(demos, vectors.kind[1])
    if not any(demos[-kept:]):
        raise Refused(
            "KNNFewShot: no predictor has both an input and an output of the examples; "
            "set max_bootstrapped_demos, or use another optimizer"
        )
    for name, predictor in student.named_predictors():
        places = [place for place in range(len(demos) - kept, len(demos)) if name in demos[place]]
        own = [demos[place][name] for place in places]
        predictor.demos = own[-k:]
        if places:
            part = pool_part(k, inputs, vectors.kind, own, rows[places])
            give_pool(predictor, Pool(part))
    return pick(student, vectors)


def _labelled(student: Any, example: Any) -> Demos:
    """Return what the example says of each predictor that it has an input and an output of."""
    demos: Demos = {}
    for name, predictor in student.named_predictors():
        signature = predictor.signature
        there = {field: example[field] for field in signature.fields if field in example}
        if there.keys() & signature.input_fields and there.keys() & signature.output_fields:
            demos[name] = there
    return demos


def _nearest(rows: Any, place: int, count: int) -> list[int]:
    """Return the places of the other examples that are nearest, the nearest last."""
    order = np.argsort(-(rows @ rows[place]), kind="stable")
    return [int(other) for other in order if other != place][:count][::-1]


def _answered(
    student: Any,
    example: Any,
    near: Sequence[Demos],
    metric: Callable[..., Any],
    threshold: float | None,
) -> Demos | None:
    """Return what the program itself says, step by step; None where that is of no use."""
    names: dict[int, str] = {}
    for name, predictor in student.named_predictors():
        names[id(predictor)] = name
        predictor.demos = [demos[name] for demos in near if name in demos]
    try:
        with dspy.context(trace=[]):
            prediction = student(**example.inputs())
            trace = list(dspy.settings.trace)
            value = metric(example, prediction, trace)
    except Exception:  # noqa: BLE001  # of the LM, the program or its metric: the label serves
        return None
    if not (value if threshold is None else value >= threshold):
        return None
    return {
        names[id(predictor)]: to_jsonable_python({**given, **answer}, fallback=str)
        for predictor, given, answer in trace
        if id(predictor) in names
    }


def _fitting(demos: Sequence[Demos], dim: int) -> int:
    """Return how many of the newest examples' demos fit into a state, one at least."""
    left, kept = POOL_BYTES, 0
    for each in reversed(demos):
        vectors = len(each) * (dim * 8 // 3 + 4)  # two bytes a number, as base64
        left -= len(json.dumps(each, ensure_ascii=False).encode()) + vectors
        if left < 0 and kept:
            break
        kept += 1
    return kept
