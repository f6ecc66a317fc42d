"""Hypothesis strategies for payloads, made from the models themselves."""

import types
from collections.abc import Callable
from datetime import UTC, date
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, JsonValue
from pydantic.fields import FieldInfo

from bespoke_schemas import Payload, examples, memories, optimization, programs

LONGEST = 30  # characters or entries of what is drawn; the limits have tests of their own

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
SPOKEN = TEXT.map("a".__add__)  # visible
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    JsonValue: JSON,
    type(None): st.none(),
    bool: st.booleans(),
    UUID: st.uuids(),
    date: st.dates(),
    AwareDatetime: st.datetimes(timezones=st.just(UTC)),
}


def _anything(_: dict[str, Any]) -> bool:
    return True


def _either(fields: dict[str, Any]) -> bool:
    return (fields.get("memory_id") is None) != (fields.get("content") is None)


def _run_or_memory(fields: dict[str, Any]) -> bool:
    return (fields.get("run_id") is None) != (fields.get("memory_id") is None)


def _any_change(fields: dict[str, Any]) -> bool:
    return any(fields.get(name) is not None for name in ("content", "kind", "tags", "metadata"))


def _one_target(fields: dict[str, Any]) -> bool:
    return not fields.get("inline") or fields.get("name") is None


def _one_source(fields: dict[str, Any]) -> bool:
    return (fields.get("records") is None) != (fields.get("source") is None)


def _one_mode(fields: dict[str, Any]) -> bool:
    forced, aged, dry = (bool(fields.get(name)) for name in ("force", "age_only", "dry_run"))
    unasked = fields.get("space") is not None and fields.get("user_id") is None
    return not unasked and not (aged and (forced or dry)) and (dry or fields.get("preset") is None)


def _one_owner(fields: dict[str, Any]) -> bool:
    return not fields.get("shared") or fields.get("user_id") is None


def _state_or_version(fields: dict[str, Any]) -> bool:
    return (fields.get("state") is None) != (fields.get("program_id") is None)


def _bad_if_corrected(fields: dict[str, Any]) -> bool:
    return not fields.get("positive") or fields.get("correction") is None


def _one_choice(fields: dict[str, Any]) -> bool:
    if fields.get("optimizer") is not None:
        return fields.get("tier") is None
    return not fields.get("options")


TOGETHER: dict[type[Payload[Any]], Callable[[dict[str, Any]], bool]] = {
    examples.Feedback: _bad_if_corrected,
    memories.Compact: _one_mode,
    memories.FindSimilar: _either,
    memories.Update: _any_change,
    memories.Restore: _run_or_memory,
    memories.Export: _one_target,
    memories.Import: _one_source,
    programs.Checkpoint: _state_or_version,
    programs.Cleanup: _one_owner,
    optimization.OptimizeUser: _one_choice,
}
"""What a payload asks of its fields together."""


def payloads(payload_type: type[Payload[Any]]) -> st.SearchStrategy[Payload[Any]]:
    """Draw valid payloads; a field that has a default is sometimes left out."""
    return (
        _fields(payload_type)
        .filter(TOGETHER.get(payload_type, _anything))
        .map(payload_type.model_validate)
    )


def _fields(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    fields = model.model_fields
    return st.fixed_dictionaries(
        {name: _field(info) for name, info in fields.items() if info.is_required()},
        optional={name: _field(info) for name, info in fields.items() if not info.is_required()},
    )


def _field(info: FieldInfo) -> st.SearchStrategy[Any]:
    return _of(info.annotation, info.metadata)


def _of(annotation: Any, rules: list[Any]) -> st.SearchStrategy[Any]:
    if annotation in PLAIN:
        return PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _fields(annotation).map(annotation.model_validate)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [part for rule in arguments[1:] for part in getattr(rule, "metadata", [rule])]
        return _of(arguments[0], [*inner, *rules])
    if origin in {Union, types.UnionType}:
        return st.one_of([_of(argument, rules) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    fewest, most = _rule(rules, MinLen, "min_length", 0), _rule(rules, MaxLen, "max_length", 3)
    if origin is tuple:
        return st.lists(_of(arguments[0], []), min_size=fewest, max_size=min(most, 3)).map(tuple)
    if origin is dict:
        keys, values = (_of(argument, []) for argument in arguments)
        return st.dictionaries(keys, values, min_size=fewest, max_size=3)
    least, greatest = _rule(rules, Ge, "ge", None), _rule(rules, Le, "le", None)
    if annotation is int:
        return st.integers(least, greatest)
    if annotation is float:
        return st.floats(least, greatest, allow_nan=False, allow_infinity=False)
    assert annotation is str, f"no strategy for {annotation!r}"
    return SPOKEN if fewest else TEXT


def _rule(rules: list[Any], kind: type, attribute: str, otherwise: Any) -> Any:
    return next((getattr(rule, attribute) for rule in rules if isinstance(rule, kind)), otherwise)
