"""How a module gives its state, and takes a stored one that fits."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from bespoke_schemas.program_state import shape
from bespoke_schemas.program_state.picking import give_pool
from bespoke_schemas.program_state.pool import Pool
from bespoke_schemas.program_state.refusal import StateRefused
from bespoke_schemas.program_state.shape import predictors
from bespoke_schemas.program_state.whitelist import POOL, clean_state, shown

if TYPE_CHECKING:
    import dspy


def separate(module: "dspy.Module") -> "dspy.Module":
    """Give ``module`` signatures of its own, and return it.

    Predictors share their signature's class between modules, and InferRules changes it in
    place: one user's rules would then be in the next user's fresh program.
    """
    for predictor in predictors(module).values():
        predictor.signature = predictor.signature.load_state(predictor.signature.dump_state())
    return module


def dump(module: "dspy.Module") -> dict[str, Any]:
    """Return the module's state as it is stored: demos, pools, instructions, fields' wording."""
    return clean_state({name: each.dump_state() for name, each in predictors(module).items()})


def apply(
    module: "dspy.Module",
    state: Mapping[str, Any],
    fingerprint: str,
    only: Collection[str] | None = None,
) -> None:
    """Give ``module`` a stored state: demos and wording, and nothing else.

    ``fingerprint`` is the one stored with the state. With ``only``, the predictors of these
    names take theirs, and what the state has for others counts for nothing. Raises
    StateRefused, saying what differs, if the state is not one of this program's; the module
    is unchanged then.
    """
    give(module, fitting(module, state, fingerprint, only))


def fitting(
    module: "dspy.Module",
    state: Mapping[str, Any],
    fingerprint: str,
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return what ``apply`` gives the module; raises as it does, and changes nothing."""
    kept = clean_state(state)
    saved = fingerprint
    if only is not None:
        saved = shape.joined(shape.divided(fingerprint, kept), only)
        kept = {name: each for name, each in kept.items() if name in only}
    shape.check_same(saved, shape.fingerprint(module, only))
    check_fits(module, kept, only)
    return kept


def give(module: "dspy.Module", kept: Mapping[str, Any]) -> None:
    """Give predictors of ``module`` their part of a state that was found to fit.

    What the application's class gave them beside that stays: a language model, a calibration.
    """
    into = predictors(module)
    for name, part in kept.items():
        predictor = into[name]
        model, calibration = predictor.lm, getattr(predictor, "fields", {})
        stated = {key: value for key, value in part.items() if key != POOL}
        predictor.load_state({**stated, "lm": None, "fields": calibration})
        predictor.lm = model
        if POOL in part:
            give_pool(predictor, Pool(part[POOL]))


def check_fits(
    module: "dspy.Module", state: Mapping[str, Any], only: Collection[str] | None = None
) -> None:
    """Raise StateRefused unless the clean ``state`` has the module's predictors and fields.

    With ``only``, it must have the predictors of these names and no others.
    """
    expected = predictors(module)
    if only is not None:
        expected = {name: each for name, each in expected.items() if name in only}
    missing = [shown(name) for name in sorted(expected.keys() - state.keys())]
    unknown = [shown(name) for name in sorted(state.keys() - expected.keys())]
    if missing or unknown:
        raise StateRefused(
            f"the state does not fit the program: it lacks predictors [{', '.join(missing)}] "
            f"and has unknown ones [{', '.join(unknown[:5])}]; save the state of this program"
        )
    for name, predictor in expected.items():
        got, want = len(state[name]["signature"]["fields"]), len(predictor.signature.fields)
        if got != want:
            raise StateRefused(
                f"the state does not fit the program: predictor {shown(name)} has {got} fields, "
                f"the program's has {want}; save the state of this program"
            )
