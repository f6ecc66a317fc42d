"""One user's run, from scoring the version in use to scoring the new one. Knows no database."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import dspy

from bespoke_schemas.optimization import Candidate, Optimizer
from bespoke_workers.errors import BespokeError, Refused
from bespoke_workers.optimization import gate, lm_cache
from bespoke_workers.optimization.comparison import Comparison, compare
from bespoke_workers.optimization.gate import Gate
from bespoke_workers.optimization.knn import Vectors
from bespoke_workers.optimization.lm import CALL_SECONDS
from bespoke_workers.optimization.lm_cache import JobCache
from bespoke_workers.optimization.optimizers import Compiled, compile_program
from bespoke_workers.optimization.pace import Pace
from bespoke_workers.optimization.scoring import score
from bespoke_workers.optimization.silence import silenced
from bespoke_workers.optimization.split import Split
from bespoke_workers.optimization.stopping import Stop, Stopped
from bespoke_workers.optimization.usage import Usage
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.programs.registry import Program

THREADS: Final = 4
"""Of one run. A killed run pays again for the calls that were under way: at most this many."""


@dataclass(frozen=True)
class Assignment:
    """What one run has to do: two modules of the same program, of which nobody else knows."""

    program: Program
    optimizer: Optimizer
    in_use: Any
    student: Any
    examples: Split
    options: Mapping[str, Any] = field(default_factory=dict)
    vectors: Vectors | None = None  # of the examples, where something picks by them


@dataclass(frozen=True)
class Improvement:
    """A compiled module, and how it compares with the version in use."""

    module: Any
    comparison: Comparison
    failed_calls: int
    candidates: tuple[Candidate, ...] = ()


def improve(
    assignment: Assignment,
    lm: Any,
    cache: JobCache,
    stop: Stop,
    usage: Usage,
    watch: Watch,
    pace: Pace,
) -> Improvement:
    """Score, compile and score again, in the calling thread and those that DSPy starts.

    Raises the reason for which ``stop`` was thrown, or Refused naming what raised. When it
    returns, none of its threads makes calls any more.
    """
    lm_cache.install()
    cache.account(stop, usage)
    context: dict[str, Any] = {
        "lm": lm,
        "callbacks": [watch],
        "usage_tracker": usage,
        "num_threads": THREADS,
        "disable_history": True,  # DSPy's is the process's, and would show one user another's
        lm_cache.SETTING: cache,
        gate.SETTING: Gate(pace, stop),
    }
    try:
        with silenced(), dspy.context(**context):
            return _improve(assignment, watch)
    except Stopped:
        assert stop.reason is not None
        raise stop.reason from None
    finally:
        watch.drain(CALL_SECONDS)


def _improve(assignment: Assignment, watch: Watch) -> Improvement:
    program, examples = assignment.program, assignment.examples
    held_out = _examples(examples.held_out, program.inputs)
    watch.begin("scoring the version in use", len(held_out))
    before = score(program, assignment.in_use, held_out, watch, THREADS)
    watch.begin(assignment.optimizer)
    compiled = _compiled(assignment, watch)
    watch.begin("scoring the new version", len(held_out))
    after = score(program, compiled.module, held_out, watch, THREADS)
    comparison = compare(before, after)
    if comparison is None:
        raise Refused(f"no held-out example was answered for both versions: {watch.failure()}")
    failed_calls = watch.failed_calls.total()
    return Improvement(compiled.module, comparison, failed_calls, compiled.candidates)


def _compiled(assignment: Assignment, watch: Watch) -> Compiled:
    train = _examples(assignment.examples.train, assignment.program.inputs)
    try:
        return _left_clean(
            partial(
                compile_program,
                assignment.optimizer,
                assignment.student,
                assignment.program.metric,
                train,
                assignment.options,
                assignment.vectors,
            )
        )
    except BespokeError:
        raise
    except Exception as error:  # noqa: BLE001  # its text may quote examples: only its type is told
        because = f" ({failure})" if (failure := watch.failure()) else ""
        raise Refused(
            f"{assignment.optimizer} raised {type(error).__name__} while it optimized "
            f"{assignment.program.name!r}{because}"
        ) from None


def _left_clean(compiling: Callable[[], Compiled]) -> Compiled:
    """Compile; where that raises, let go of what the optimizer held, while it is still silent.

    GEPA leaves its progress bar open then, which would be printed once the error is forgotten.
    """
    try:
        return compiling()
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise


def _examples(fields: Sequence[Mapping[str, Any]], inputs: Sequence[str]) -> list[Any]:
    return [dspy.Example(**one).with_inputs(*inputs) for one in fields]
