"""What of a program's state is kept: a whitelist, since anything else in it can do harm.

Loaded as it is, a state can send an API key to another server, forge answers or replace a
method. So a state is rebuilt from what makes a program a user's own, and nothing else:

    {predictor: {"demos": [{field: JSON}],
                 "signature": {"instructions": text,
                               "fields": [{"prefix": text, "description": text}]},
                 "pool": {"k": number, "inputs": [text], "embedder": text, "dim": number,
                          "demos": [{field: JSON}], "vectors": base64 of float16}}}

The pool, which most states lack, is what demos are picked from at each request.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bespoke_schemas.fields import storable
from bespoke_schemas.program_state.refusal import StateRefused

SELF = "self"
"""The name of a bare ``dspy.Predict``'s one predictor, whose own dump has no names."""
DEPTH_LIMIT = 64  # levels; JSON nested deeper is an attack on the parser, not a demo
SHOWN = 60  # characters of a name that an error repeats
POOL = "pool"
POOL_LIMIT = 1000  # demos of a pool; as many as a user has examples, unless that is set higher
PICKS_LIMIT = 100  # demos that one prompt shows
INPUTS_LIMIT = 64  # names of a program's inputs
EMBEDDER_LIMIT = 200  # characters of an embedder's name
DIM_LIMIT = 8192  # numbers of a vector

# The exponent of a float16 that is infinite or no number has all its bits set.
_NOT_FINITE = bytes(high for high in range(256) if high & 0x7C == 0x7C)


def clean_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of ``state``, which is what ``Module.dump_state()`` gives.

    The flat dump of a bare ``dspy.Predict`` becomes that of one predictor called ``self``, so
    that every stored state has the same shape. Entries that are no predictor's are dropped.
    Raises StateRefused naming the place if a predictor's entry is malformed.
    """
    if not isinstance(state, Mapping):
        raise StateRefused(f"state: got {_kind(state)}, expected an object")
    if _is_flat(state):
        state = {SELF: state}
    predictors = {
        _text(name, "state"): _predictor(entry, f"state[{shown(name)}]")
        for name, entry in state.items()
        if isinstance(entry, Mapping) and ("demos" in entry or "signature" in entry)
    }
    if not predictors:
        raise StateRefused("state: holds no predictor; give what Module.dump_state() returns")
    return predictors


def shown(name: object) -> str:
    """Return a name as an error shows it: quoted, on one line, cut if it is long."""
    text = str(name)
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def _is_flat(state: Mapping[str, Any]) -> bool:
    # A predictor that is itself called "signature" has a "signature" of its own inside.
    signature = state.get("signature")
    return isinstance(signature, Mapping) and "instructions" in signature


def _predictor(entry: Mapping[str, Any], place: str) -> dict[str, Any]:
    demos = _list(entry.get("demos"), f"{place}.demos")
    signature = _object(entry.get("signature"), f"{place}.signature")
    kept: dict[str, Any] = {
        "demos": _demos(demos, f"{place}.demos"),
        "signature": _signature(signature, f"{place}.signature"),
    }
    if entry.get(POOL) is not None:
        kept[POOL] = _pool(_object(entry[POOL], f"{place}.{POOL}"), f"{place}.{POOL}")
    return kept


def _pool(pool: Mapping[str, Any], place: str) -> dict[str, Any]:
    demos = _list(pool.get("demos"), f"{place}.demos")
    inputs = _list(pool.get("inputs"), f"{place}.inputs")
    _within(len(demos), POOL_LIMIT, f"{place}.demos: as many")
    _within(len(inputs), INPUTS_LIMIT, f"{place}.inputs: as many")
    embedder = _text(pool.get("embedder"), f"{place}.embedder")
    _within(len(embedder), EMBEDDER_LIMIT, f"{place}.embedder: as many characters")
    dim = _within(pool.get("dim"), DIM_LIMIT, f"{place}.dim")
    return {
        "k": _within(pool.get("k"), PICKS_LIMIT, f"{place}.k"),
        "inputs": [_text(name, f"{place}.inputs") for name in inputs],
        "embedder": embedder,
        "dim": dim,
        "demos": _demos(demos, f"{place}.demos"),
        "vectors": _vectors(pool.get("vectors"), len(demos) * dim, f"{place}.vectors"),
    }


def _vectors(value: Any, count: int, place: str) -> str:
    """Return base64 of as many float16 as ``count``, all of them finite."""
    text, size = _text(value, place), 2 * count
    if len(text) != 4 * ((size + 2) // 3):  # before it is decoded: it may be long
        raise StateRefused(f"{place}: expected {count} float16 as base64")
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise StateRefused(f"{place}: is no base64") from None
    if len(raw) != size:
        raise StateRefused(f"{place}: expected {count} float16 as base64")
    high = raw[1::2]  # little-endian
    if len(high.translate(None, delete=_NOT_FINITE)) != len(high):
        raise StateRefused(f"{place}: holds a number that is not finite")
    return base64.b64encode(raw).decode()


def _within(value: Any, most: int, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise StateRefused(f"{place}: got {_kind(value)}, expected a number")
    if not 1 <= value <= most:
        raise StateRefused(f"{place}: got {value!s:.20}, expected 1 to {most}")
    return value


def _demos(demos: Sequence[Any], place: str) -> list[dict[str, Any]]:
    return [_demo(demo, f"{place}[{n}]") for n, demo in enumerate(demos)]


def _signature(signature: Mapping[str, Any], place: str) -> dict[str, Any]:
    fields = _list(signature.get("fields"), f"{place}.fields")
    return {
        "instructions": _text(signature.get("instructions"), f"{place}.instructions"),
        "fields": [_field(field, f"{place}.fields[{n}]") for n, field in enumerate(fields)],
    }


def _field(field: Any, place: str) -> dict[str, str | None]:
    entry = _object(field, place)
    # InputField(desc=None) is dumped as None.
    return {
        key: None if entry.get(key) is None else _text(entry[key], f"{place}.{key}")
        for key in ("prefix", "description")
    }


def _demo(demo: Any, place: str) -> dict[str, Any]:
    fields = _object(demo, place)
    return {_text(name, place): _json(value, place, 1) for name, value in fields.items()}


def _json(value: Any, place: str, depth: int) -> Any:
    """Return a copy of a JSON value that PostgreSQL can hold."""
    if depth > DEPTH_LIMIT:
        raise StateRefused(f"{place}: nested deeper than {DEPTH_LIMIT} levels")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, list | tuple):
        return [_json(inner, place, depth + 1) for inner in value]
    if isinstance(value, Mapping):
        return {_text(key, place): _json(inner, place, depth + 1) for key, inner in value.items()}
    raise StateRefused(f"{place}: {_kind(value)} is not JSON")


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise StateRefused(f"{place}: got {_kind(value)}, expected text")
    try:
        return storable(value)
    except ValueError as error:
        raise StateRefused(f"{place}: {error}") from None


def _list(value: Any, place: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise StateRefused(f"{place}: got {_kind(value)}, expected a list")
    return value


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise StateRefused(f"{place}: got {_kind(value)}, expected an object")
    return value


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
