"""Which values a policy's fields may have."""

from collections.abc import Callable
from typing import Any

from bespoke_workers.errors import Refused

EVICTIONS = ("oldest", "redundant")
COMPACTIONS = ("inline", "background")


def check(name: str, value: Any, whose: str = "policy") -> None:
    """Raise Refused, naming what was got and what is allowed, unless the field may have the value.

    ``whose`` begins the refusal.
    """
    if name not in _ALLOWED:
        raise Refused(f"{whose} field: got {name!r}, allowed: {', '.join(_ALLOWED)}")
    allowed, is_allowed = _ALLOWED[name]
    if not is_allowed(value):
        raise Refused(f"{whose} field {name}: got {value!r}, allowed: {allowed}")


def _whole(least: int, most: int) -> tuple[str, Callable[[Any], bool]]:
    return (
        f"a whole number from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def _real(least: float, most: float) -> tuple[str, Callable[[Any], bool]]:
    return (
        f"a number from {least:g} to {most:g}",
        lambda value: type(value) in (int, float) and least <= value <= most,
    )


# 36,500 days are a hundred years; a million memories are what one index is measured for.
_ALLOWED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "max_memories": _whole(1, 1_000_000),
    "max_age_days": _whole(1, 36_500),
    "similarity_threshold": _real(-1, 1),
    "low_access_threshold": _real(0, 1),
    "dedup_guard": ("true or false", lambda value: type(value) is bool),
    "eviction": (" or ".join(EVICTIONS), lambda value: value in EVICTIONS),
    "compaction": (" or ".join(COMPACTIONS), lambda value: value in COMPACTIONS),
    # Which are registered may differ from worker to worker while they are replaced.
    "scoring": ("the name of a scoring", lambda value: type(value) is str),
}
