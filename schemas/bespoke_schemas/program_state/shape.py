"""The shape of a program: its predictors and their fields.

DSPy loads a state by position and without a check, so a state of another program shifts
descriptions between fields and nobody notices. A program's fingerprint therefore goes with
its state, and only a program of the same fingerprint takes it.
"""

import hashlib
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from bespoke_schemas.program_state.refusal import StateRefused
from bespoke_schemas.program_state.whitelist import SELF

if TYPE_CHECKING:
    import dspy

SIGNATURE_LIMIT = 400  # characters; it is part of an index, whose entries hold 2,704 bytes
TYPE_LIMIT = 60  # characters of one field's type in a fingerprint
BETWEEN = "; "


def predictors(module: "dspy.Module") -> dict[str, "dspy.Predict"]:
    """Return a module's predictors by the names that its state has for them."""
    import dspy

    if isinstance(module, dspy.Predict):
        return {SELF: module}
    parameters = dict(module.named_parameters())
    return {name: each for name, each in parameters.items() if isinstance(each, dspy.Predict)}


def fingerprint(module: "dspy.Module", only: Collection[str] | None = None) -> str:
    """Return the module's shape: predictors, and their fields' names, types and roles.

    Such as ``classify(text: str -> label: str); explain(label: str -> reason: str)``. It is
    readable so that a mismatch can say what differs; instructions are not part of it. With
    ``only``, the shape of the predictors of these names.
    """
    return joined(shapes(module), only)


def shapes(module: "dspy.Module") -> dict[str, str]:
    """Return the fingerprint's parts, by the predictors' names."""
    return {
        name: f"{name}({_typed(each.signature.input_fields)} -> "
        f"{_typed(each.signature.output_fields)})"
        for name, each in predictors(module).items()
    }


def joined(parts: Mapping[str, str], only: Collection[str] | None = None) -> str:
    """Return the fingerprint of these parts, or of ``only`` some of them."""
    return BETWEEN.join(parts[name] for name in sorted(parts) if only is None or name in only)


def divided(fingerprint: str, names: Collection[str]) -> dict[str, str]:
    """Return the parts of the fingerprint of a state that holds the predictors ``names``.

    Raises StateRefused if it is of other predictors.
    """
    parts, rest, ahead = {}, fingerprint, sorted(names, reverse=True)
    while ahead:
        name = ahead.pop()
        # A type may hold what stands between two parts; the next one's name tells them apart.
        part, _, left = rest.partition(f"{BETWEEN}{ahead[-1]}(") if ahead else (rest, "", "")
        if not part.startswith(f"{name}("):
            raise StateRefused(
                "the fingerprint is of other predictors than the state; save the version anew"
            )
        parts[name] = part
        rest = f"{ahead[-1]}({left}" if ahead else ""
    return parts


def check_same(saved: str, present: str) -> None:
    """Raise StateRefused, saying what differs, unless two fingerprints are the same."""
    if saved == present:
        return
    before, now = saved.split(BETWEEN), present.split(BETWEEN)
    gone = [part for part in before if part not in now]
    new = [part for part in now if part not in before]
    raise StateRefused(
        f"the version was saved for another shape of the program: it has {gone}, the program "
        f"has {new}; load it with the program that it was saved for, or optimize anew"
    )


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
    named = BETWEEN.join(f"{name}: {part}" for name, part in parts.items())
    return _cut(named, limit=SIGNATURE_LIMIT)


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
