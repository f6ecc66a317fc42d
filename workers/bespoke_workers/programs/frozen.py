"""How an optimizer is kept to those predictors of a module that are a user's own."""

from collections.abc import Collection
from types import new_class
from typing import Any


def frozen(module: Any, own: Collection[str] | None) -> Any:
    """Return ``module`` so that DSPy's optimizers see only its ``own`` predictors.

    Whatever changes a module finds its predictors by ``named_parameters``, also in the copies
    that an optimizer makes, so the module gets a class of its own that leaves the others out:
    they run, and nothing resets them, gives them demos or rewords them. Marking them
    ``_compiled`` does not do it: DSPy looks at that for submodules and not for predictors.
    """
    if own is None:
        return module
    names = frozenset(own)
    kind = type(module)

    def named_parameters(self: Any) -> list[tuple[str, Any]]:
        return [(name, each) for name, each in kind.named_parameters(self) if name in names]

    # Under the same name and place, MIPROv2 finds the source, which it shows to its proposer.
    place = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    if "__firstlineno__" in vars(kind):  # by which Python 3.13 finds it
        place["__firstlineno__"] = vars(kind)["__firstlineno__"]
    members = {**place, "__doc__": kind.__doc__, "named_parameters": named_parameters}
    module.__class__ = new_class(kind.__name__, (kind,), exec_body=lambda it: it.update(members))
    return module
