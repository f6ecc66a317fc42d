"""Demos that are picked for each request: those of the pool nearest to its inputs.

The picks of a request live in its ``dspy.context`` and nowhere else, so that requests in other
threads and tasks have theirs. Predictors find them there: nothing is written to a module, and
DSPy's own threads, streams and traces see the module that was called.
"""

import inspect
from collections.abc import Mapping
from types import new_class
from typing import TYPE_CHECKING, Any, Final, Protocol

from bespoke_schemas.program_state.pool import Kind, Pool, embedded_text
from bespoke_schemas.program_state.whitelist import POOL

if TYPE_CHECKING:
    import dspy
    from numpy.typing import ArrayLike

SETTING: Final = "bespoke_picks"
"""Where a request's picks are in DSPy's settings, by their pools."""

_OWN: Final = "_bespoke_pool"  # of a predictor: its pool
_SOURCE: Final = "_bespoke_source"  # of a program: what embeds its inputs

Asked = tuple[Kind, str]


class Embeds(Protocol):
    """What turns a request's inputs into a vector, for calls and for those that are awaited.

    None where it cannot: the request then has the demos that do not depend on it.
    """

    def embed(self, kind: Kind, text: str) -> "ArrayLike | None":
        """Return the vector that an embedder of this kind makes of a text."""

    async def aembed(self, kind: Kind, text: str) -> "ArrayLike | None":
        """Do the same without keeping an event loop waiting."""


def give_pool(predictor: "dspy.Predict", pool: Pool) -> None:
    """Have a predictor's demos picked from ``pool`` where its program picks.

    Elsewhere, and for requests that could not be embedded, it keeps the demos that it has.
    Whoever sets its demos ends that.
    """
    if not isinstance(predictor, _Picked):
        _mix_in(predictor, _Picked)
    vars(predictor)[_OWN] = pool


def pools(module: "dspy.Module") -> dict[str, Pool]:
    """Return the pools of a module's predictors, those of its submodules too, by place."""
    import dspy

    every = ((name, vars(each).get(_OWN)) for name, each in module.named_sub_modules(dspy.Predict))
    return {name: pool for name, pool in every if pool is not None}


def pick(module: "dspy.Module", embeds: Embeds) -> "dspy.Module":
    """Have ``module`` pick demos at each call, and return it; without pools it is as it was."""
    if pools(module):
        if not isinstance(module, _Picking):
            _mix_in(module, _Picking)
        vars(module)[_SOURCE] = _Source(embeds)
    return module


class _Picked:
    """A predictor whose demos are those picked for the request that is under way, if any are."""

    @property
    def demos(self) -> list[Any]:
        """The demos of this request."""
        import dspy

        own: list[Any] = vars(self)["demos"]
        pool = vars(self).get(_OWN)
        if pool is None:
            return own
        picks: list[Any] | None = (dspy.settings.get(SETTING) or {}).get(pool)
        return own if picks is None else list(picks)

    @demos.setter
    def demos(self, demos: list[Any]) -> None:
        vars(self)["demos"] = demos
        vars(self).pop(_OWN, None)

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return what DSPy dumps, with the pool, and with no request's picks."""
        import dspy

        with dspy.context(**{SETTING: {}}):
            state: dict[str, Any] = super().dump_state(json_mode)  # type: ignore[misc]  # Predict's
        pool = vars(self).get(_OWN)
        return state if pool is None else {**state, POOL: dict(pool.part)}


class _Picking:
    """A program that picks its predictors' demos at each call."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        import dspy

        source = vars(self)[_SOURCE].embeds
        asked = _asked(self, args, kwargs)
        vectors = {each: source.embed(*each) for each in set(asked.values())} if source else {}
        with dspy.context(**{SETTING: _picks(asked, vectors)}):
            return super().__call__(*args, **kwargs)  # type: ignore[misc]  # dspy.Module's

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        import dspy

        source = vars(self)[_SOURCE].embeds
        asked = _asked(self, args, kwargs)
        vectors = (
            {each: await source.aembed(*each) for each in set(asked.values())} if source else {}
        )
        with dspy.context(**{SETTING: _picks(asked, vectors)}):
            return await super().acall(*args, **kwargs)  # type: ignore[misc]  # dspy.Module's


class _Source:
    """Holds what embeds: shared by the copies of a module, and left out where it is pickled."""

    def __init__(self, embeds: Embeds | None) -> None:
        self.embeds = embeds

    def __deepcopy__(self, memo: object) -> "_Source":
        return self

    def __reduce__(self) -> Any:
        return _Source, (None,)


def _mix_in(module: Any, mixin: type) -> None:
    """Give a module a class of its own, under the name of the one that it had."""
    kind = type(module)
    members = {
        "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__,
    }  # fmt: skip
    module.__class__ = new_class(
        kind.__name__, (mixin, kind), exec_body=lambda it: it.update(members)
    )


def _asked(module: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[Pool, Asked]:
    """Return what has to be embedded for each pool of a module that is called."""
    given = _given(module, args, kwargs)
    found = {pool: embedded_text(pool.inputs, given) for pool in pools(module).values()}
    return {pool: (pool.kind, text) for pool, text in found.items() if text}


def _given(module: Any, args: Any, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inputs of a call by their names."""
    if not args:
        return kwargs
    try:
        return inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
    except TypeError:
        return kwargs  # the call itself will say what is wrong with it


def _picks(asked: Mapping[Pool, Asked], vectors: Mapping[Asked, Any]) -> dict[Pool, list[Any]]:
    """Return the picks of a request, beside those of the one in which it is made."""
    import dspy

    picks: dict[Pool, list[Any]] = dict(dspy.settings.get(SETTING) or {})
    for pool, each in asked.items():
        vector = vectors.get(each)
        if vector is None:
            picks.pop(pool, None)
        else:
            picks[pool] = pool.nearest(vector)
    return picks
