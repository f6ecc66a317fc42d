"""What a user's memories are kept to: limits, thresholds and the order of eviction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bespoke_workers.errors import Refused

EVICTIONS = ("oldest", "redundant")


@dataclass(frozen=True)
class Policy:
    """The limits that compaction and deduplication keep to.

    `similarity_threshold` is a cosine; None is the embedder's own. `low_access_threshold` is a
    share of the user's most accessed memory. `dedup_guard` keeps apart what differs in numbers or
    negations. `eviction` is the order in which size compaction removes: what was touched longest
    ago, or what nobody reads and another memory says too.
    """

    max_memories: int = 1000
    max_age_days: int = 90
    similarity_threshold: float | None = None
    low_access_threshold: float = 0.1
    dedup_guard: bool = True
    eviction: str = "oldest"

    def threshold(self, embedder_threshold: float) -> float:
        """Return the cosine from which two memories count as similar enough to be one."""
        own = self.similarity_threshold
        return embedder_threshold if own is None else own


DEFAULT = Policy()
CONSERVATIVE = Policy(
    max_memories=5000, max_age_days=365, similarity_threshold=0.98, low_access_threshold=0.05
)
AGGRESSIVE = Policy(
    max_memories=500, max_age_days=30, similarity_threshold=0.85, low_access_threshold=0.2
)
PRESETS = {"default": DEFAULT, "conservative": CONSERVATIVE, "aggressive": AGGRESSIVE}


def resolve(
    preset: str | None, overrides: Mapping[str, Any], *, default: Policy = DEFAULT
) -> Policy:
    """Return a preset (None: `default`) with some of its fields set; None leaves a field as it is.

    Raises:
        Refused: the preset or a field is unknown, or a value is not allowed.
    """
    if preset is not None and preset not in PRESETS:
        raise Refused(f"policy preset: got {preset!r}, allowed: {', '.join(PRESETS)}")
    given = {name: value for name, value in overrides.items() if value is not None}
    for name, value in given.items():
        _check(name, value)
    return replace(default if preset is None else PRESETS[preset], **given)


def _check(name: str, value: Any) -> None:
    if name not in _ALLOWED:
        raise Refused(f"policy field: got {name!r}, allowed: {', '.join(_ALLOWED)}")
    allowed, is_allowed = _ALLOWED[name]
    if not is_allowed(value):
        raise Refused(f"policy field {name}: got {value!r}, allowed: {allowed}")


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
}
