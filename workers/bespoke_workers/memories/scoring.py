"""How much memories are worth to relevance: the documents' formula, or a function registered."""

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

from bespoke_schemas.fields import NAME_LIMIT
from bespoke_workers import modules
from bespoke_workers.errors import BespokeError, Misconfigured, Refused
from bespoke_workers.memories.compaction import relevance_score

Score = Callable[[int, int, float], float]
"""(access count, that of the user's most accessed memory, age in days) -> worth."""
ScoreT = TypeVar("ScoreT", bound=Score)

DEFAULT = "default"

_registered: dict[str, Score] = {DEFAULT: relevance_score}
_modules: set[str] = set()


class ScoringFailed(Misconfigured):
    """A scoring that is missing, raised or answered no number: nothing can be judged by it."""


def scoring(name: str) -> Callable[[ScoreT], ScoreT]:
    """Register the decorated function as the scoring ``name``; the function itself is unchanged.

    It is called with the access count of a memory, that of the user's most accessed one and the
    age in days, and returns a finite number: what is worth least goes first. Raises Misconfigured
    if the name is taken by another function or is of no use.
    """
    if not name.strip() or len(name) > NAME_LIMIT:
        raise Misconfigured(
            f"a scoring's name is text of 1 to {NAME_LIMIT} characters, got {name!r:.120}"
        )

    def register(score: ScoreT) -> ScoreT:
        known = _registered.get(name)
        # The same place again is a module that is reloaded, or imported anew after it failed.
        if known is not None and _origin(known) != _origin(score):
            raise Misconfigured(
                f"scoring {name!r} is registered by {_origin(known)} already; "
                f"give {_origin(score)} another name"
            )
        _registered[name] = score
        return score

    return register


def look_in(programs: Iterable[str]) -> None:
    """Name the modules that register scorings; they are imported for a name that is not known."""
    _modules.update(programs)


def names() -> list[str]:
    """Return the names of all registered scorings, sorted."""
    return sorted(_registered)


def get(name: str) -> Score:
    """Return the scoring ``name``; raises Refused, with the names there are, if it is unknown."""
    if name not in _registered:
        modules.load(sorted(_modules))
    if name not in _registered:
        raise Refused(
            f"unknown scoring {name!r}; registered: {', '.join(names())}; "
            "set BESPOKE_PROGRAMS to the module that registers it"
        )
    return _registered[name]


def judge(name: str) -> Score:
    """Return the scoring ``name`` so that whatever is wrong with it raises ScoringFailed."""
    if name == DEFAULT:
        return relevance_score
    try:
        score = get(name)
    except BespokeError as error:
        raise ScoringFailed(f"scoring {name!r}: {error}") from None

    def judged(access_count: int, most_accessed: int, age_days: float) -> float:
        try:
            worth = float(score(access_count, most_accessed, age_days))
        except Exception as error:  # noqa: BLE001  # the application's function may raise anything
            raise _failed(name, f"raised {type(error).__name__}") from None
        if not math.isfinite(worth):
            raise _failed(name, f"answered {worth}, expected a finite number")
        return worth

    return judged


def _failed(name: str, what: str) -> ScoringFailed:
    return ScoringFailed(
        f"scoring {name!r} {what}; correct {_origin(_registered[name])}, or set another scoring"
    )


def _origin(score: Score) -> str:
    return f"{score.__module__}.{getattr(score, '__qualname__', type(score).__name__)}"
