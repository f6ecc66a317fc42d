"""The fields of a payload as parameters of a command: which kind, under which name.

Required fields are arguments, the user first; what has a default is an option. A tuple is an
option that may be repeated, a JSON object is given as such or as ``@FILE``, and many objects
come from a file of JSON lines.
"""

import datetime as dt
import types
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import click
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bespoke_schemas import Payload
from bespoke_workers.cli.parameter_types import JsonLines, JsonObject, Moment, ParamType

WORDS = {"user_id": "user", "user_ids": "users"}
"""Fields whose names are shorter on the command line."""
HELP = {
    "user_id": "The user.",
    "space": "A shared space that the user has joined.",
    "program": "The name under which the program is registered.",
    "tags": "A tag; give the option again for another.",
    "limit": "At most so many.",
    "offset": "Leave out the first so many.",
}
"""What fields mean wherever they occur; a description of the field itself goes before."""
SCALARS = (str, int, float, UUID, dt.datetime, AwareDatetime, dt.date, dt.timedelta)


class Shape(Enum):
    """What a field is on the command line."""

    FLAG = "flag"
    SCALAR = "scalar"
    MANY = "many"  # scalars
    OBJECT = "object"  # JSON
    LINES = "lines"  # objects, one to a line of a file


def parameters(kind: type[Payload[Any]]) -> list[click.Parameter]:
    """Return the parameters of a payload's command, arguments first."""
    arguments: list[click.Parameter] = []
    options: list[click.Parameter] = []
    for name, info in fields(kind).items():
        if is_argument(info) and not (shape(info) is Shape.MANY and _takes_all(arguments)):
            arguments.append(_argument(name, info))
        else:
            options.extend(_options(kind, name, info))
    # Stable: the user first, and what takes all that is left last.
    arguments.sort(key=lambda one: (one.nargs == -1, one.name != "user_id"))
    return arguments + options


def fields(kind: type[Payload[Any]]) -> dict[str, FieldInfo]:
    """Return the fields of a payload but for its id, which every command takes."""
    return {name: info for name, info in kind.model_fields.items() if name != "id"}


def is_argument(info: FieldInfo) -> bool:
    """Whether a field is given by its place instead of by its name."""
    return info.is_required() and shape(info) in {Shape.SCALAR, Shape.MANY, Shape.OBJECT}


def shape(info: FieldInfo) -> Shape:
    """Return what a field is on the command line."""
    base = _base(info.annotation)
    if base is bool:
        return Shape.FLAG
    if _is_scalar(base):
        return Shape.SCALAR
    if get_origin(base) in {tuple, list, set, frozenset}:
        inner = _base(get_args(base)[0])
        return Shape.MANY if _is_scalar(inner) else Shape.LINES
    return Shape.OBJECT


def nullable(info: FieldInfo) -> bool:
    """Whether None is a value of a field."""
    return type(None) in _alternatives(info.annotation)


def shown(kind: type[Payload[Any]], name: str) -> str:
    """Return how the command line names a field: ``USER``, ``--tag``."""
    info = kind.model_fields[name]
    if name == "id" or not is_argument(info):
        return _switch(kind, name, info)
    return _metavar(name)


def emptied(name: str) -> str:
    """Return the name of the flag that makes a tuple empty where None means something else."""
    return f"no_{name}"


def _argument(name: str, info: FieldInfo) -> click.Argument:
    many = shape(info) is Shape.MANY
    return click.Argument(
        [name],
        type=_type(info),
        nargs=-1 if many else 1,
        required=True,
        metavar=_metavar(name) + ("..." if many else ""),
    )


def _options(kind: type[Payload[Any]], name: str, info: FieldInfo) -> list[click.Option]:
    switch, form, text = _switch(kind, name, info), shape(info), _help(name, info)
    given: dict[str, Any] = {"help": text, "required": info.is_required()}
    if form is Shape.FLAG:
        # A flag that is off needs no opposite; one that is on, or neither, does.
        plain = info.default is False
        names = switch if plain else f"{switch}/--no-{switch.removeprefix('--')}"
        default = None if info.is_required() else info.default
        return [click.Option([names, name], is_flag=True, **{**given, "default": default})]
    if form is Shape.MANY:
        option = click.Option([switch, name], type=_type(info), multiple=True, **given)
        return [option, *_emptying(name, info)]
    if form is Shape.SCALAR and not info.is_required():
        given |= {"default": _default(info), "show_default": _default(info) is not None}
    return [click.Option([switch, name], type=_type(info), **given)]


def _emptying(name: str, info: FieldInfo) -> list[click.Option]:
    if not nullable(info):
        return []
    flag = f"--no-{name.replace('_', '-')}"
    return [click.Option([flag, emptied(name)], is_flag=True, help="Give none, not what was.")]


def _switch(kind: type[Payload[Any]], name: str, info: FieldInfo) -> str:
    if shape(info) is Shape.LINES:
        others = [one for one in fields(kind).values() if shape(one) is Shape.LINES]
        return "--from" if len(others) == 1 else f"--{name.replace('_', '-')}-from"
    word = WORDS.get(name, name)
    if shape(info) is Shape.MANY:
        word = word.removesuffix("s")
    return f"--{word.replace('_', '-')}"


def _metavar(name: str) -> str:
    return WORDS.get(name, name).upper()


def _type(info: FieldInfo) -> ParamType:
    form = shape(info)
    if form is Shape.OBJECT:
        return JsonObject()
    if form is Shape.LINES:
        return JsonLines()
    base = _base(info.annotation)
    return _scalar_type(_base(get_args(base)[0]) if form is Shape.MANY else base)


def _scalar_type(base: Any) -> ParamType:
    if get_origin(base) is Literal:
        return click.Choice([str(value) for value in get_args(base)])
    if isinstance(base, type) and issubclass(base, Enum):
        return click.Choice([str(one.value) for one in base])
    plain: dict[Any, ParamType] = {
        int: click.INT,
        float: click.FLOAT,
        UUID: click.UUID,
        dt.datetime: Moment(),
        AwareDatetime: Moment(),
    }
    return plain.get(base, click.STRING)


def _help(name: str, info: FieldInfo) -> str:
    text = info.description or HELP.get(name, "")
    least = next((rule.ge for rule in info.metadata if hasattr(rule, "ge")), None)
    most = next((rule.le for rule in info.metadata if hasattr(rule, "le")), None)
    if least is None and most is None:
        return text
    bounds = f"[{'' if least is None else least}…{'' if most is None else most}]"
    return f"{text} {bounds}".strip()


def _default(info: FieldInfo) -> Any:
    if info.default is PydanticUndefined or info.default == "":
        return None
    return info.default.value if isinstance(info.default, Enum) else info.default


def _base(annotation: Any) -> Any:
    """Return what an annotation says without its rules and without None."""
    if get_origin(annotation) is Annotated:
        return _base(get_args(annotation)[0])
    alternatives = [one for one in _alternatives(annotation) if one is not type(None)]
    if len(alternatives) == 1 and alternatives[0] is not annotation:
        return _base(alternatives[0])
    return annotation


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return get_args(annotation)
    return (annotation,)


def _is_scalar(base: Any) -> bool:
    if get_origin(base) in {Union, types.UnionType}:
        return all(_is_scalar(_base(one)) for one in get_args(base))
    if get_origin(base) is Literal:
        return True
    if not isinstance(base, type) or issubclass(base, BaseModel):
        return False
    return issubclass(base, (*SCALARS, Enum)) and base is not bool


def _takes_all(arguments: list[click.Parameter]) -> bool:
    return any(one.nargs == -1 for one in arguments)
