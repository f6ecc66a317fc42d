"""The optimizers: each built fresh for one job, for one student, and thrown away with it.

An optimizer object used twice mixes the demonstrations of two users.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import dspy

from bespoke_schemas.optimization import Candidate, Optimizer
from bespoke_workers.optimization.choosing.options import KINDS, divided
from bespoke_workers.optimization.finetuning.compiling import finetuned
from bespoke_workers.optimization.judging import metrics
from bespoke_workers.optimization.judging.metrics import Metric
from bespoke_workers.optimization.optimizers import knn

DEMOS: Final = 16  # labelled examples that a prompt shows at most
BOOTSTRAPPED: Final = 4  # of which the program answered itself
SEED: Final = 9
CHOSEN_BY: Final = 100
"""Examples by which candidates are compared, at most: each costs a call for each candidate."""
CANDIDATES: Final = 100  # that a result tells of

_REPORTS: Final = ("candidate_programs", "detailed_results", "rules_tried")
"""What optimizers hang on the program that they return; among it are all the other programs."""


@dataclass(frozen=True)
class Compiled:
    """What an optimizer made, and the programs that it chose from, the best first."""

    module: Any
    candidates: tuple[Candidate, ...] = ()


def compile_program(
    optimizer: Optimizer,
    student: Any,
    metric: Metric,
    train: Sequence[Any],
    options: Mapping[str, Any],
    vectors: knn.Vectors | None = None,
) -> Compiled:
    """Compile ``student`` with the optimizer of that name on the examples of ``train``.

    Must run in the ``dspy.context`` of its job, with a student of which nobody else has a
    reference, and options that were checked. ``vectors`` are those of the examples, for an
    optimizer that ``needs_vectors``. Raises whatever the optimizer raises.
    """
    if optimizer == "KNNFewShot":
        assert vectors is not None
        scoring = metrics.scoring(metric)
        return Compiled(knn.compile_program(student, scoring, train, vectors, **options))
    if optimizer == "BootstrapFinetune":
        return Compiled(finetuned(student, metric, train))
    recipe = _RECIPES[optimizer]
    making, compiling = divided(optimizer, {**recipe.defaults(options), **options})
    built = KINDS[optimizer](**recipe.own(metric), **making)
    module = built.compile(student, **recipe.examples(list(train)), **compiling)
    candidates = recipe.candidates(module)
    for report in _REPORTS:
        vars(module).pop(report, None)
    ranked = sorted(candidates, key=lambda candidate: candidate.score, reverse=True)
    return Compiled(module, tuple(ranked[:CANDIDATES]))


def needs_vectors(optimizer: str) -> bool:
    """Whether the optimizer looks at which examples are alike."""
    return optimizer == "KNNFewShot"


def _all(train: list[Any]) -> dict[str, Any]:
    return {"trainset": train}


def _apart(train: list[Any]) -> dict[str, Any]:
    """Set half of the examples apart, by which candidates are compared.

    On examples that its prompt shows, the program that shows the most would seem the best.
    """
    chosen_by = train[1::2][:CHOSEN_BY]
    learned_from = train[::2] + train[1::2][CHOSEN_BY:]
    return {"trainset": learned_from, "valset": chosen_by}


def _none(module: Any) -> list[Candidate]:
    return []


def _searched(module: Any) -> list[Candidate]:
    names = {-3: "as it was", -2: "labeled", -1: "bootstrapped"}
    return [
        Candidate(
            name=names.get(one["seed"], f"bootstrapped, seed {one['seed']}"),
            score=float(one["score"]) / 100,
        )
        for one in module.candidate_programs
    ]


def _evolved(module: Any) -> list[Candidate]:
    scores = module.detailed_results.val_aggregate_scores
    return [
        Candidate(name="as it was" if number == 0 else f"rewritten {number}", score=float(score))
        for number, score in enumerate(scores)
    ]


def _ruled(module: Any) -> list[Candidate]:
    return [
        Candidate(name=f"rules {number}", score=score / 100)
        for number, score in enumerate(module.rules_tried, start=1)
    ]


def _no_metric(metric: Metric) -> dict[str, Any]:
    return {}


def _judged(metric: Metric) -> dict[str, Any]:
    return {"metric": metrics.scoring(metric)}


def _unreported(metric: Metric) -> dict[str, Any]:
    # Its reports are attributes of the program, which may have predictors of these names.
    return {"metric": metrics.scoring(metric), "track_stats": False}


def _reflected(metric: Metric) -> dict[str, Any]:
    # Without a directory GEPA writes none of its pickles; a killed run resumes by its LM cache.
    return {
        "metric": metrics.reflecting(metric),
        "reflection_lm": dspy.settings.lm,
        "track_stats": True,
        "log_dir": None,
    }


def _labels(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"k": DEMOS}


def _demos(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"max_bootstrapped_demos": BOOTSTRAPPED, "max_labeled_demos": DEMOS}


def _trials(options: Mapping[str, Any]) -> dict[str, Any]:
    # Its own default of 4 labelled examples would show less than a smaller tier does.
    auto = None if "num_trials" in options else "light"
    return {**_demos(options), "auto": auto, "seed": SEED}


def _rewrites(options: Mapping[str, Any]) -> dict[str, Any]:
    limited = {"max_full_evals", "max_metric_calls"} & set(options)
    return {"auto": None if limited else "light", "seed": SEED}


@dataclass(frozen=True)
class _Recipe:
    """How one optimizer is made, fed and read."""

    own: Callable[[Metric], dict[str, Any]]
    defaults: Callable[[Mapping[str, Any]], dict[str, Any]]
    examples: Callable[[list[Any]], dict[str, Any]] = _all
    candidates: Callable[[Any], list[Candidate]] = _none


_RECIPES: Final[dict[Optimizer, _Recipe]] = {
    "LabeledFewShot": _Recipe(_no_metric, _labels),
    "BootstrapFewShot": _Recipe(_judged, _demos),
    "BootstrapFewShotWithRandomSearch": _Recipe(_judged, _demos, _apart, _searched),
    "InferRules": _Recipe(_judged, _demos, _apart, _ruled),
    "MIPROv2": _Recipe(_unreported, _trials),
    "GEPA": _Recipe(_reflected, _rewrites, _apart, _evolved),
}
