"""What may be set of an optimizer: the plain parameters of its real signature, and no others.

What a run decides itself (the metric, models, threads, what is reported and where to) is no
option: a log directory or a tracker would carry one user's examples out of the run.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, get_type_hints

import dspy
from pydantic import TypeAdapter, ValidationError

from bespoke_schemas.optimization import Optimizer
from bespoke_schemas.program_state import PICKS_LIMIT
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.optimizers.rules import OwnRules

MOST: Final = 10_000
"""No count, threshold or seed of an optimizer is larger; some of them are sizes of lists."""

KINDS: Final[dict[Optimizer, type[Any]]] = {
    "LabeledFewShot": dspy.LabeledFewShot,
    "KNNFewShot": dspy.KNNFewShot,
    "BootstrapFewShot": dspy.BootstrapFewShot,
    "BootstrapFewShotWithRandomSearch": dspy.BootstrapFewShotWithRandomSearch,
    "InferRules": OwnRules,
    "MIPROv2": dspy.MIPROv2,
    "GEPA": dspy.GEPA,
    "BootstrapFinetune": dspy.BootstrapFinetune,
}

_THE_RUN_S_OWN: Final = frozenset(
    {
        "self", "student", "trainset", "valset", "teacher", "teacher_settings", "metric",
        "prompt_model", "task_model", "reflection_lm", "num_threads", "verbose", "log_dir",
        "track_stats", "track_best_outputs", "use_wandb", "wandb_api_key", "wandb_init_kwargs",
        "use_mlflow", "gepa_kwargs", "instruction_proposer", "code_proposer",
        "component_selector", "restrict", "requires_permission_to_run", "provide_traceback",
        "warn_on_score_mismatch", "vectorizer", "train_kwargs", "adapter", "multitask",
        "exclude_demos",
    }
)  # fmt: skip
_HANDED_ON: Final[dict[Optimizer, tuple[str, ...]]] = {
    "KNNFewShot": ("max_bootstrapped_demos", "metric_threshold"),
    "InferRules": (
        "max_bootstrapped_demos", "max_errors", "max_labeled_demos", "max_rounds",
        "metric_threshold",
    ),
}  # fmt: skip
"""What an optimizer hands on to BootstrapFewShot, and means the same here."""


def check(optimizer: Optimizer, options: Mapping[str, Any]) -> None:
    """Raise Refused unless the optimizer takes these options, one by one and together."""
    known = _known(optimizer)
    for name, value in options.items():
        if name not in known:
            raise Refused(
                f"{optimizer} has no option {name!r:.120}; it has "
                f"{', '.join(sorted(known)) or 'none'}"
            )
        _check_value(optimizer, name, value, known[name])
    _check_together(optimizer, options)


def divided(
    optimizer: Optimizer, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return which of the options the optimizer is made with, and which it compiles with."""
    made_with = _parameters(KINDS[optimizer].__init__).keys() | _HANDED_ON.get(optimizer, ())
    making = {name: value for name, value in options.items() if name in made_with}
    compiling = {name: value for name, value in options.items() if name not in made_with}
    return making, compiling


def _known(optimizer: Optimizer) -> dict[str, Any]:
    """Return the type of each option that an optimizer has."""
    kind = KINDS[optimizer]
    bootstrap = _parameters(dspy.BootstrapFewShot.__init__)
    handed_on = {name: bootstrap[name] for name in _HANDED_ON.get(optimizer, ())}
    return _parameters(kind.compile) | _parameters(kind.__init__) | handed_on


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the type of each parameter that is an option."""
    hints = get_type_hints(function)
    return {
        name: hints.get(name, _type_of(parameter.default))
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in _THE_RUN_S_OWN
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def _type_of(default: Any) -> Any:
    """Return the type that a parameter without one has; what is None by default is a number."""
    return float | None if default is None else type(default)


def _check_value(optimizer: Optimizer, name: str, value: Any, kind: Any) -> None:
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Refused(f"option {name!r} of {optimizer}: {first['msg']}") from None
    if isinstance(value, int | float) and not 0 <= value <= MOST:
        raise Refused(f"option {name!r} of {optimizer}: got {value!r}; give 0 to {MOST}")


def _check_together(optimizer: Optimizer, options: Mapping[str, Any]) -> None:
    if optimizer == "KNNFewShot" and not 1 <= options.get("k", 1) <= PICKS_LIMIT:
        raise Refused(f"option 'k' of KNNFewShot: got {options['k']}; give 1 to {PICKS_LIMIT}")
    if optimizer == "InferRules" and options.get("num_candidates", 1) < 1:
        raise Refused("option 'num_candidates' of InferRules: got 0; give 1 at least")
    if optimizer == "MIPROv2":
        counted = [name for name in ("num_candidates", "num_trials") if name in options]
        if counted and options.get("auto") is not None:
            raise Refused(f"MIPROv2 takes auto or {' and '.join(counted)}, not both")
        if len(counted) == 1 or (not counted and options.get("auto", "light") is None):
            raise Refused("MIPROv2 without auto needs both num_candidates and num_trials")
    if optimizer == "GEPA":
        budgets = ("auto", "max_full_evals", "max_metric_calls")
        given = [name for name in budgets if options.get(name) is not None]
        if len(given) > 1:
            raise Refused(f"GEPA takes one of {', '.join(budgets)}, got {' and '.join(given)}")
