"""Calls as DSPy's ChatAdapter writes them, read back: which fields, with which texts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bespoke_schemas.program_state import shown

END = "completed"  # the marker behind the last field
ASKS = "\n\nRespond with the corresponding output fields"
"""Where the inputs of a call end and its closing words begin."""

_MARKER = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*", re.MULTILINE)


class NotLearnable(ValueError):
    """Calls that the small model cannot learn from; the text says why and quotes none of them."""


def asked(content: str) -> dict[str, str]:
    """Return the inputs of a call, by their names; a text without any is one without a name."""
    inputs, _, _ = content.rpartition(ASKS)
    return sections(inputs or content) or {"": content}


def sections(content: str) -> dict[str, str]:
    """Return the texts under markers such as ``[[ ## label ## ]]``, by the markers' names."""
    found = list(_MARKER.finditer(content))
    ends = [one.start() for one in found[1:]] + [len(content)]
    return {
        one[1]: content[one.end() : end].strip()
        for one, end in zip(found, ends, strict=True)
        if one[1] != END
    }


def answered(values: Mapping[str, str]) -> str:
    """Return an answer's fields as the adapter reads them."""
    parts = [f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()]
    return "\n\n".join([*parts, f"[[ ## {END} ## ]]"])


def names(system: str) -> set[str]:
    """Return the names of all fields that a call's instructions speak of."""
    return {name for name in _MARKER.findall(system) if name != END}


def parted(line: Mapping[str, Any]) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return a line of training data as its instructions, its inputs and its answer."""
    messages: Sequence[Mapping[str, str]] = line["messages"]
    said = {one["role"]: one["content"] for one in messages}
    return said.get("system", ""), asked(said["user"]), sections(said["assistant"])


def check_learnable(field: str, values: Sequence[str]) -> None:
    """Raise NotLearnable for a field whose values are not few: those are not chosen but written."""
    distinct = len(set(values))
    if distinct > max(2, len(values) // 2):
        raise NotLearnable(
            f"the small model chooses among values that it has seen, and field {shown(field)} has "
            f"{distinct} values in {len(values)} examples; train it for fields with few values, "
            "such as labels"
        )
