"""What ``auto`` tries, in which order, and what it may take. Pure rules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bespoke_schemas.optimization import FINETUNES, Optimizer
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.choosing import options as optimizer_options

ORDER: Final[tuple[str, ...]] = (
    "LabeledFewShot",
    "KNNFewShot",
    "BootstrapFewShot",
    "InferRules",
    "BootstrapFewShotWithRandomSearch",
    "MIPROv2",
    "GEPA",
)
"""Optimizers from the cheapest up."""

SEARCHES_FROM: Final = 50
"""Examples from which half of them tell one set of demos from another."""
INSTRUCTS_FROM: Final = 200
"""Examples from which demos in one prompt cannot show what instructions can say."""
PATIENCE: Final = 2
"""Rungs in a row without a gain, after which dearer ones are not tried."""
MOST_RUNGS: Final = 8
MOST_CALLS: Final = 1_000_000


@dataclass(frozen=True)
class Rung:
    """An optimizer to try, with its options."""

    optimizer: Optimizer
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ladder:
    """The rungs in the order in which they are tried, and what all of it may take."""

    rungs: tuple[Rung, ...]
    max_lm_calls: int | None = None
    max_usd: float | None = None

    def within(self, lm_calls: int | None) -> "Ladder":
        """Return this ladder for a run that may pay for so many LM calls; None has no limit."""
        limits = [limit for limit in (self.max_lm_calls, lm_calls) if limit is not None]
        return replace(self, max_lm_calls=min(limits, default=None))


class _Named(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    optimizer: Optimizer
    options: dict[str, Any] = Field(default_factory=dict)


_Rungs = Annotated[list[Optimizer | _Named], Field(min_length=1, max_length=MOST_RUNGS)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    ladder: _Rungs | None = None
    max_lm_calls: Annotated[int, Field(ge=1, le=MOST_CALLS)] | None = None
    max_usd: Annotated[float, Field(gt=0, le=1e9, strict=False)] | None = None


def check(options: Mapping[str, Any]) -> None:
    """Raise Refused unless ``auto`` takes these options, and each rung its own."""
    _read(options)


def ladder(options: Mapping[str, Any], examples: int, own: Rung | None) -> Ladder:
    """Return what to try with so many examples; ``own`` is what the tier has for them.

    A ladder that the options name is taken as it is.
    """
    read = _read(options)
    rungs = tuple(map(_rung, read.ladder)) if read.ladder else _warranted(examples, own)
    return Ladder(rungs, read.max_lm_calls, read.max_usd)


def roughly(rung: Rung, train: int) -> int:
    """Return about how many calls of the program an optimizer makes with so many examples."""
    return int(_ROUGHLY[rung.optimizer](rung.options, train))


def _read(options: Mapping[str, Any]) -> _Options:
    try:
        read = _Options.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = first["loc"][0]
        if name not in _Options.model_fields:
            known = ", ".join(sorted(_Options.model_fields))
            raise Refused(f"auto has no option {str(name)!r:.120}; it has {known}") from None
        raise Refused(f"option {name!r} of auto: {first['msg']}") from None
    for one in read.ladder or ():
        rung = _rung(one)
        if rung.optimizer == FINETUNES:
            raise Refused(f"auto does not train models; ask for {FINETUNES} by its name")
        optimizer_options.check(rung.optimizer, rung.options)
    return read


def _rung(one: "Optimizer | _Named") -> Rung:
    return Rung(one.optimizer, one.options) if isinstance(one, _Named) else Rung(one)


def _warranted(examples: int, own: Rung | None) -> tuple[Rung, ...]:
    names = {"LabeledFewShot", "KNNFewShot"}
    if examples < SEARCHES_FROM:
        names.add("BootstrapFewShot")
    else:
        names.add("BootstrapFewShotWithRandomSearch")
    if examples >= INSTRUCTS_FROM:
        names.add("MIPROv2")
    rungs = {one: Rung(one) for one in get_args(Optimizer) if one in names}
    if own is not None:
        rungs[own.optimizer] = own
    return tuple(sorted(rungs.values(), key=lambda rung: ORDER.index(rung.optimizer)))


_Calls = Callable[[Mapping[str, Any], int], float]
_AUTO: Final = {"light": 1, "medium": 2.5, "heavy": 4}  # as DSPy's own numbers of candidates are


def _none(options: Mapping[str, Any], train: int) -> float:
    return 0


def _answering(options: Mapping[str, Any], train: int) -> float:
    return float(min(options.get("max_bootstrapped_demos", 0), train))


def _each_once(options: Mapping[str, Any], train: int) -> float:
    return float(train * options.get("max_rounds", 1))


def _searching(options: Mapping[str, Any], train: int) -> float:
    return float((options.get("num_candidate_programs", 16) + 3) * min(train / 2, 100))


def _inducing(options: Mapping[str, Any], train: int) -> float:
    return float((options.get("num_candidates", 10) + 1) * min(train / 2, 100))


def _instructing(options: Mapping[str, Any], train: int) -> float:
    if "num_trials" in options:
        return float(options["num_trials"] * min(0.8 * train, 35))
    return 250 * _AUTO[options.get("auto", "light")]


def _rewriting(options: Mapping[str, Any], train: int) -> float:
    if options.get("max_metric_calls") is not None:
        return float(options["max_metric_calls"])
    if options.get("max_full_evals") is not None:
        return float(options["max_full_evals"] * train)
    return 400 * _AUTO[options.get("auto", "light")]


_ROUGHLY: Final[dict[str, _Calls]] = {
    "LabeledFewShot": _none,
    "KNNFewShot": _answering,
    "BootstrapFewShot": _each_once,
    "InferRules": _inducing,
    "BootstrapFewShotWithRandomSearch": _searching,
    "MIPROv2": _instructing,
    "GEPA": _rewriting,
}
