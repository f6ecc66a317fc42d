"""Reading the prompts that DSPy's chat and JSON adapters send."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TypedDict

Texts = dict[str, str]

_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*", re.MULTILINE)
_FIELD = re.compile(r"^\d+\. `(\w+)` \((.*?)\)(?::|$)", re.MULTILINE)
_REQUEST = re.compile(r"\n\nRespond with (?:the corresponding output fields|a JSON object)[^\n]*\Z")
_OPTIONS = re.compile(
    r"\{(\w+)\}[^\n]*# note: the value you produce must (?:exactly match|be)[^\n]*?one of: (.*)"
)
_OUTPUTS = "Your output fields are:"
_STRUCTURE = "All interactions will be structured in the following way"
_OBJECTIVE = "your objective is:"


class Message(TypedDict):
    """One chat message, its content as plain text."""

    role: str
    content: str


@dataclass(frozen=True)
class Demonstration:
    """One question with its answer, as shown before the real question: texts by field name."""

    inputs: Texts
    outputs: Texts


@dataclass(frozen=True)
class Prompt:
    """What a prompt asks. ``outputs`` maps each wanted field to its Python type as written."""

    instructions: str
    inputs: Texts
    outputs: Texts
    demonstrations: tuple[Demonstration, ...] = ()
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    as_json: bool = False


def read(messages: Sequence[Message]) -> Prompt:
    """Take apart the messages of one request. A prompt not from DSPy has no outputs."""
    system = "\n".join(m["content"] for m in messages if m["role"] in {"system", "developer"})
    turns = [m for m in messages if m["role"] in {"user", "assistant"}]
    question = turns[-1]["content"] if turns else ""
    shown = pairwise(turns)
    return Prompt(
        instructions=_instructions(system),
        inputs=_asked(question),
        outputs=_wanted(system),
        demonstrations=tuple(
            Demonstration(_fields(asked["content"]), _fields(answered["content"]))
            for asked, answered in shown
            if asked["role"] == "user" and answered["role"] == "assistant"
        ),
        options=_options(system),
        as_json="Outputs will be a JSON object" in system,
    )


@lru_cache(maxsize=4096)  # the same demonstrations stand in each prompt of a candidate program
def _fields(content: str) -> Texts:
    if content.lstrip().startswith("{"):
        return _json_fields(content)
    parts = _HEADER.split(content)
    found = zip(parts[1::2], parts[2::2], strict=True)
    return {name: text.strip() for name, text in found if name != "completed"}


def _json_fields(content: str) -> Texts:
    try:
        decoded = json.loads(content)
    except ValueError:
        return {}
    return {name: str(value) for name, value in decoded.items()}


def _asked(question: str) -> Texts:
    question = _REQUEST.sub("", question)
    return _fields(question) or {"question": question.strip()}


@lru_cache(maxsize=256)
def _wanted(system: str) -> Texts:
    described = system.partition(_OUTPUTS)[2].partition(_STRUCTURE)[0]
    return dict(_FIELD.findall(described))


@lru_cache(maxsize=256)
def _options(system: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(listed.split("; ")) for name, listed in _OPTIONS.findall(system)}


@lru_cache(maxsize=256)
def _instructions(system: str) -> str:
    told = system.rpartition(_OBJECTIVE)[2] if _OBJECTIVE in system else system
    return "\n".join(line.strip() for line in told.strip().splitlines())
