"""The programs that can be made each user's own, as the application's modules register them.

A registered class is built without arguments, once for each use. Nothing here imports dspy:
the application's module does, when it is imported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bespoke_schemas.fields import NAME_LIMIT
from bespoke_workers.errors import Misconfigured, Refused

Factory = Callable[[], Any]
Metric = Callable[..., Any]
FactoryT = TypeVar("FactoryT", bound=Callable[..., Any])

_registered: dict[str, "Program"] = {}


@dataclass(frozen=True)
class Program:
    """A registered program: what makes a fresh one, its examples' inputs, and its metric.

    ``factory()`` returns a ``dspy.Module``; ``metric(example, prediction, trace=None)`` returns
    a bool or a number. ``own`` are the predictors that are each user's own as they were named,
    None for all.
    """

    name: str
    factory: Factory = field(hash=False)
    inputs: tuple[str, ...]
    metric: Metric = field(hash=False)  # an object that is called may have no hash
    own: tuple[str, ...] | None = None

    @property
    def origin(self) -> str:
        """Where the factory is defined, as ``module.Class``."""
        return f"{self.factory.__module__}.{self.factory.__qualname__}"


def program(
    name: str, *, inputs: Sequence[str], metric: Metric, own: Sequence[str] | None = None
) -> Callable[[FactoryT], FactoryT]:
    """Register the decorated class as the program ``name``; the class itself is unchanged.

    ``inputs`` are those fields of an example that the program is called with. ``own`` names
    the predictors, or submodules with all of theirs, that are each user's own; the others come
    from the shared base's version in use. None makes all of them the user's own. Raises
    Misconfigured if the name is taken by another class or an argument is of no use; whether
    ``own`` names predictors is seen when the program is first built.
    """
    _check(name, inputs, metric)
    _check_own(name, own)

    def register(factory: FactoryT) -> FactoryT:
        new = Program(name, factory, tuple(inputs), metric, None if own is None else tuple(own))
        known = _registered.get(name)
        # The same place again is a module that is reloaded, or imported anew after it failed.
        if known is not None and known.origin != new.origin:
            raise Misconfigured(
                f"program {name!r} is registered by {known.origin} already; "
                f"give {new.origin} another name"
            )
        _registered[name] = new
        return factory

    return register


def get(name: str) -> Program:
    """Return the program ``name``; raises Refused, with the names there are, if it is unknown."""
    try:
        return _registered[name]
    except KeyError:
        raise Refused(
            f"unknown program {name!r}; registered: {names()}; "
            "set BESPOKE_PROGRAMS to the module that registers it"
        ) from None


def find(name: str) -> Program | None:
    """Return the program ``name``, or None if it is not registered here."""
    return _registered.get(name)


def names() -> list[str]:
    """Return the names of all registered programs, sorted."""
    return sorted(_registered)


def _check(name: object, inputs: object, metric: object) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_LIMIT:
        raise Misconfigured(
            f"a program's name is text of 1 to {NAME_LIMIT} characters, got {name!r:.120}"
        )
    fields = [] if isinstance(inputs, str) or not isinstance(inputs, Sequence) else list(inputs)
    if not fields or not all(isinstance(field, str) and field for field in fields):
        raise Misconfigured(
            f"program {name!r}: inputs are a list of fields' names such as ['text'], "
            f"got {inputs!r:.120}"
        )
    if not callable(metric):
        raise Misconfigured(
            f"program {name!r}: metric is a function of (example, prediction, trace=None), "
            f"got {type(metric).__name__}"
        )


def _check_own(name: str, own: object) -> None:
    if own is None:
        return
    named = [] if isinstance(own, str) or not isinstance(own, Sequence) else list(own)
    if not named or not all(isinstance(each, str) and each for each in named):
        raise Misconfigured(
            f"program {name!r}: own is a list of predictors' names such as ['answer'], "
            f"got {own!r:.120}; leave it out where all are the user's own"
        )
