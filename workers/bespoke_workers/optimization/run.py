"""One user's run, from scoring the version in use to scoring the new one. Knows no database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

from bespoke_schemas.optimization import AUTO, Candidate, Choice, Optimizer
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.choosing.climbing import Climb
from bespoke_workers.optimization.choosing.ladder import Ladder
from bespoke_workers.optimization.judging.comparison import Comparison, compare
from bespoke_workers.optimization.judging.judging import THREADS, Judge, is_crossed
from bespoke_workers.optimization.judging.split import Fields
from bespoke_workers.optimization.language_model import gate, lm_cache, remembered
from bespoke_workers.optimization.language_model.gate import Gate
from bespoke_workers.optimization.language_model.lm_cache import JobCache
from bespoke_workers.optimization.language_model.pace import Pace
from bespoke_workers.optimization.language_model.usage import Usage
from bespoke_workers.optimization.optimizers.knn import Vectors
from bespoke_workers.optimization.silence import silenced
from bespoke_workers.optimization.stopping import Stop, Stopped
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.patience import CALL_SECONDS
from bespoke_workers.programs.registry import Program


@dataclass(frozen=True)
class Assignment:
    """What one run has to do. ``seed`` decides which of the ``examples`` are held out.

    Nobody else knows the module in use, and those that ``student`` makes, of the same program.
    ``auto`` climbs the ``ladder``, and ``base`` is the base program where another is in use.
    """

    program: Program
    optimizer: Choice
    in_use: Any
    student: Callable[[], Any]
    examples: Sequence[Fields]
    seed: str
    options: Mapping[str, Any] = field(default_factory=dict)
    vectors: Vectors | None = None  # of the examples, where something picks by them
    base: Any | None = None
    ladder: Ladder | None = None


@dataclass(frozen=True)
class Improvement:
    """A compiled module, and how it compares with the version in use.

    ``optimizer`` made it, None if it was there before; ``told`` says how ``auto`` chose it.
    """

    module: Any
    optimizer: Optimizer | None
    comparison: Comparison
    failed_calls: int
    candidates: tuple[Candidate, ...] = ()
    told: str | None = None


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
    remembered.install()
    cache.account(stop, usage)
    context: dict[str, Any] = {
        "lm": lm,
        "callbacks": [watch],
        "usage_tracker": usage,
        "num_threads": THREADS,
        "disable_history": True,  # DSPy's is the process's, and would show one user another's
        "trace": [],  # so is this one
        lm_cache.SETTING: cache,
        gate.SETTING: Gate(pace, stop),
    }
    try:
        with silenced(), dspy.context(**context):
            return _improve(assignment, cache, stop, watch)
    except Stopped:
        assert stop.reason is not None
        raise stop.reason from None
    finally:
        watch.drain(CALL_SECONDS)


def _improve(assignment: Assignment, cache: JobCache, stop: Stop, watch: Watch) -> Improvement:
    if assignment.optimizer == AUTO:
        return _best_of_many(assignment, cache, stop, watch)
    judge = _judge(assignment, watch, [assignment.optimizer])
    before = judge.scored(assignment.in_use, "scoring the version in use")
    trial = judge.trial(assignment.optimizer, assignment.options, "scoring the new version")
    comparison = compare(before, trial.scores)
    if comparison is None:
        raise Refused(f"no held-out example was answered for both versions: {watch.failure()}")
    module = judge.final(trial)
    return Improvement(
        module, trial.optimizer, comparison, watch.failed_calls.total(), trial.candidates
    )


def _best_of_many(assignment: Assignment, cache: JobCache, stop: Stop, watch: Watch) -> Improvement:
    ladder = assignment.ladder
    assert ladder is not None
    judge = _judge(assignment, watch, [rung.optimizer for rung in ladder.rungs])
    found = Climb(ladder, judge, cache, stop).climb(assignment.in_use, assignment.base)
    return Improvement(
        found.module,
        found.optimizer,
        found.comparison,
        watch.failed_calls.total(),
        found.candidates,
        found.told,
    )


def _judge(assignment: Assignment, watch: Watch, optimizers: Sequence[str]) -> Judge:
    return Judge(
        assignment.program,
        assignment.student,
        assignment.examples,
        assignment.seed,
        watch,
        assignment.vectors,
        crossed=is_crossed(len(assignment.examples), optimizers),
    )
