"""BootstrapFinetune, out of DSPy's own pieces: right answers become what a model is trained on.

DSPy's class fails as a whole where one call of the teacher does, keeps the teacher's demos in
what it trains on, and waits in a thread of its own, where neither a cancellation nor a lost lease
reaches it. What is the same: traces of a teacher that the metric approves, in the adapter's form.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import dspy
from dspy.teleprompt.bootstrap_trace import bootstrap_trace_data

from bespoke_schemas.program_state import predictors
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.finetuning.provider import Line
from bespoke_workers.optimization.judging import metrics
from bespoke_workers.optimization.judging.metrics import Metric

Calls = list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]
"""Calls of predictors: the predictor's name, inputs, outputs."""

THREADS: Final = 4


@dataclass(frozen=True)
class Tuning:
    """What a run that fine-tunes has beside examples.

    ``teacher`` is the version in use, which nobody else calls meanwhile; ``train`` makes a
    language model out of calls, however long that takes.
    """

    teacher: Any
    train: Callable[[Sequence[Line]], Any]


_current: ContextVar[Tuning | None] = ContextVar("bespoke_tuning", default=None)


@contextmanager
def tuning(how: Tuning) -> Iterator[None]:
    """Let the run that begins in this block fine-tune."""
    token = _current.set(how)
    try:
        yield
    finally:
        _current.reset(token)


def finetuned(student: Any, metric: Metric, train: Sequence[Any]) -> Any:
    """Return ``student`` with its own predictors called with a model trained on ``train``.

    Raises Refused where there is not a single right answer to learn from.
    """
    how = _current.get()
    if how is None:
        raise Refused("BootstrapFinetune runs by itself: ask for it by name or by a tier")
    own = dict(student.named_predictors())
    lines = [
        _line(own[name].signature, inputs, outputs)
        for calls in _right_calls(student, how.teacher, metric, train)
        for name, inputs, outputs in calls
        if name in own
    ]
    if not lines:
        raise Refused(
            "no example was answered right by the version in use, and none shows a whole call; "
            "there is nothing to fine-tune on: optimize with another optimizer first"
        )
    model = how.train(lines)
    for each in own.values():
        each.lm, each.demos = model, []
    student._compiled = True
    return student


def _right_calls(
    student: Any, teacher: Any, metric: Metric, train: Sequence[Any]
) -> Iterator[Calls]:
    """Yield for each example the calls that led to a right answer, else the one it shows itself."""
    traced = bootstrap_trace_data(
        program=teacher,
        dataset=list(train),
        metric=metrics.scoring(metric),
        num_threads=THREADS,
        raise_on_error=False,
    )
    names = {id(each): name for name, each in predictors(teacher).items()}
    right = {one["example_ind"]: one["trace"] for one in traced if one["score"]}
    only = _only_predictor(student)
    for number, example in enumerate(train):
        if number in right:
            yield [(names.get(id(each), ""), i, dict(o)) for each, i, o in right[number]]
        elif only is not None and (call := _shown(*only, example)) is not None:
            yield [call]


def _only_predictor(student: Any) -> tuple[str, Any] | None:
    there = predictors(student)
    return next(iter(there.items())) if len(there) == 1 else None


def _shown(
    name: str, predictor: Any, example: Any
) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """Return the call that an example is, if it has every field of the one predictor."""
    signature = predictor.signature
    if not {*signature.input_fields, *signature.output_fields} <= set(example.keys()):
        return None
    inputs = {field: example[field] for field in signature.input_fields}
    return name, inputs, {field: example[field] for field in signature.output_fields}


def _line(signature: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Line:
    line: Line = dspy.ChatAdapter().format_finetune_data(
        signature=signature, demos=[], inputs=dict(inputs), outputs=dict(outputs)
    )
    return line
