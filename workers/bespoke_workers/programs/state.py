"""A program and its state: make one, describe its shape, dump it, apply a stored one to it.

DSPy loads a state by position and without a check, so a state of another program shifts
descriptions between fields and nobody notices. A program's fingerprint therefore goes with
its state, and only a program of the same fingerprint takes it.

Imports dspy at first use.
"""

import hashlib
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.programs.registry import Program
from bespoke_workers.programs.whitelist import SELF, clean_state, shown

if TYPE_CHECKING:
    import dspy

__all__ = [
    "SIGNATURE_LIMIT", "apply", "check_fits", "clean_state", "dump", "fingerprint", "fresh",
    "predictors", "signature_text",
]  # fmt: skip

SIGNATURE_LIMIT = 400  # characters; it is part of an index, whose entries hold 2,704 bytes
TYPE_LIMIT = 60  # characters of one field's type in a fingerprint


def fresh(program: Program) -> "dspy.Module":
    """Make a new module that shares nothing that an optimizer could change with another one.

    Raises Misconfigured if the registered class cannot be built or has no predictor.
    """
    import dspy

    try:
        module = program.factory()
    except Exception as error:
        raise Misconfigured(
            f"program {program.name!r}: {program.origin}() raised {type(error).__name__}; "
            "it must be buildable without arguments"
        ) from error
    if not isinstance(module, dspy.Module) or not predictors(module):
        raise Misconfigured(
            f"program {program.name!r}: {program.origin} must be a dspy.Module with a predictor"
        )
    for predictor in predictors(module).values():
        # Predictors share their signature's class between modules, and InferRules changes it
        # in place: one user's rules would then be in the next user's fresh program.
        predictor.signature = predictor.signature.load_state(predictor.signature.dump_state())
    return module


def predictors(module: "dspy.Module") -> dict[str, "dspy.Predict"]:
    """Return a module's predictors by the names that its state has for them."""
    import dspy

    if isinstance(module, dspy.Predict):
        return {SELF: module}
    parameters = dict(module.named_parameters())
    return {name: each for name, each in parameters.items() if isinstance(each, dspy.Predict)}


def dump(module: "dspy.Module") -> dict[str, Any]:
    """Return the module's state as it is stored: demos, instructions, fields' wording."""
    return clean_state({name: each.dump_state() for name, each in predictors(module).items()})


def apply(module: "dspy.Module", state: Mapping[str, Any], fingerprint: str) -> None:
    """Give ``module`` a stored state; no language model comes with it.

    ``fingerprint`` is the one stored with the state. Raises Refused, saying what differs, if
    the state is not one of this program's; the module is unchanged then.
    """
    _check_same(fingerprint, _fingerprint(module))
    kept = clean_state(state)
    check_fits(module, kept)
    for name, predictor in predictors(module).items():
        predictor.load_state({**kept[name], "lm": None})


def check_fits(module: "dspy.Module", state: Mapping[str, Any]) -> None:
    """Raise Refused unless the clean ``state`` has the predictors and fields of ``module``."""
    expected = predictors(module)
    missing = [shown(name) for name in sorted(expected.keys() - state.keys())]
    unknown = [shown(name) for name in sorted(state.keys() - expected.keys())]
    if missing or unknown:
        raise Refused(
            f"the state does not fit the program: it lacks predictors [{', '.join(missing)}] "
            f"and has unknown ones [{', '.join(unknown[:5])}]; save the state of this program"
        )
    for name, predictor in expected.items():
        got, want = len(state[name]["signature"]["fields"]), len(predictor.signature.fields)
        if got != want:
            raise Refused(
                f"the state does not fit the program: predictor {shown(name)} has {got} fields, "
                f"the program's has {want}; save the state of this program"
            )


def fingerprint(module: "dspy.Module") -> str:
    """Return the module's shape: predictors, and their fields' names, types and roles.

    Such as ``classify(text: str -> label: str); explain(label: str -> reason: str)``. It is
    readable so that a mismatch can say what differs; instructions are not part of it.
    """
    shapes = (
        f"{name}({_typed(each.signature.input_fields)} -> {_typed(each.signature.output_fields)})"
        for name, each in sorted(predictors(module).items())
    )
    return "; ".join(shapes)


_fingerprint = fingerprint  # apply() has a parameter of that name


def signature_text(module: "dspy.Module") -> str:
    """Return the fields in DSPy's short form: ``text -> label``, at most 400 characters.

    Several predictors are told apart by name: ``classify: text -> label; explain: …``. One
    that is longer ends in a digest of the whole.
    """
    parts = {
        name: f"{', '.join(each.signature.input_fields)} -> "
        f"{', '.join(each.signature.output_fields)}"
        for name, each in predictors(module).items()
    }
    if len(parts) == 1:
        return _cut(*parts.values(), limit=SIGNATURE_LIMIT)
    return _cut("; ".join(f"{name}: {part}" for name, part in parts.items()), limit=SIGNATURE_LIMIT)


def _check_same(saved: str, present: str) -> None:
    if saved == present:
        return
    before, now = saved.split("; "), present.split("; ")
    gone = [part for part in before if part not in now]
    new = [part for part in now if part not in before]
    raise Refused(
        f"the version was saved for another shape of the program: it has {gone}, the program "
        f"has {new}; load it with the program that it was saved for, or optimize anew"
    )


def _typed(fields: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}: {_cut(_type(field.annotation), limit=TYPE_LIMIT)}"
        for name, field in fields.items()
    )


def _type(annotation: Any) -> str:
    """Name a type the same way under every version of Python, whose reprs differ."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        return "None" if annotation is NoneType else _name(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(repr(option) for option in arguments)}]"
    inner = [_type(argument) for argument in arguments]
    if origin in (Union, UnionType):
        return " | ".join(inner)
    return f"{_name(origin)}[{', '.join(inner)}]"


def _name(annotation: Any) -> str:
    return str(getattr(annotation, "__qualname__", annotation))


def _cut(text: str, *, limit: int) -> str:
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{text[: limit - 14]}… {digest}"
