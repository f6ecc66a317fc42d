"""What may become an example, and what a feedback makes of it. Rules, and no I/O."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bespoke_schemas.examples import Feedback
from bespoke_schemas.fields import METADATA_LIMIT
from bespoke_workers.errors import Refused
from bespoke_workers.programs import registry

Fields = Mapping[str, Any]
NAMES_SHOWN: Final = 5


def check(program: str, examples: Sequence[Fields]) -> None:
    """Raise Refused unless each example has the program's inputs and at least one output."""
    inputs = registry.get(program).inputs
    for number, fields in enumerate(examples, start=1):
        place = f"example {number} of {len(examples)}" if len(examples) > 1 else "the example"
        missing = [name for name in inputs if name not in fields]
        if missing:
            raise Refused(
                f"{place} has no field {_listed(missing)}, an input of {program!r}; "
                f"give every input ({', '.join(inputs)}) and the outputs wanted for them"
            )
        if set(fields) <= set(inputs):
            raise Refused(
                f"{place} has only inputs of {program!r}; add the output that is wanted for them"
            )


def check_feedback(payload: Feedback) -> None:
    """Raise Refused unless the inputs are the program's own and the outputs are none of them."""
    program, inputs = payload.program, registry.get(payload.program).inputs
    missing = [name for name in inputs if name not in payload.inputs]
    unknown = [name for name in payload.inputs if name not in inputs]
    wrong = [f"no {_listed(missing)}"] * bool(missing)
    wrong += [f"{_listed(unknown)}, which it does not take"] * bool(unknown)
    if wrong:
        raise Refused(
            f"the inputs of {program!r} are {', '.join(inputs)}; "
            f"this feedback has {' and '.join(wrong)}"
        )
    for place, fields in (("outputs", payload.outputs), ("correction", payload.correction or {})):
        among = [name for name in fields if name in inputs]
        if among:
            raise Refused(
                f"the {place} hold {_listed(among)}, an input of {program!r}; "
                "give inputs and outputs apart"
            )
        size = len(canonical({**payload.inputs, **fields}))
        if size > METADATA_LIMIT:
            raise Refused(
                f"inputs and {place} together are {size} characters of JSON; "
                f"at most {METADATA_LIMIT} are kept of an example"
            )


def wanted(payload: Feedback) -> dict[str, Any] | None:
    """Return the example that a feedback makes; None if it makes none."""
    outputs = payload.outputs if payload.positive else payload.correction
    return None if outputs is None else {**payload.inputs, **outputs}


def digest(fields: Fields) -> str:
    """Return the same short text for the same fields, in whatever order they come."""
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def canonical(fields: Fields) -> str:
    """Return the same JSON for the same fields."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:NAMES_SHOWN]))
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
