"""Programs of which some predictors are a user's own and the others the shared base's.

A user's version of such a program holds the own predictors and no others. The others' state is
that of the base's version in use when a module is made, so a better base reaches everybody.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from bespoke_schemas.program_state import shape
from bespoke_schemas.program_state.applying import apply, check_fits, fitting, give
from bespoke_schemas.program_state.shape import predictors
from bespoke_schemas.program_state.whitelist import clean_state

if TYPE_CHECKING:
    import dspy


class Stored(Protocol):
    """What of a version is applied to a module."""

    @property
    def user_id(self) -> str | None:
        """Whose it is; None is the shared base's."""

    @property
    def state(self) -> Mapping[str, Any]:
        """The state as it was saved."""

    @property
    def fingerprint(self) -> str:
        """The shape that the state was saved for."""


def assemble(
    module: "dspy.Module",
    version: Stored | None,
    *,
    base: Stored | None = None,
    own: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Give ``module`` a version's state, and what of the program is shared the base's.

    ``own`` are the predictors that are the user's own, None for all; ``base`` is the shared
    version in use. A version of the base itself is applied whole; without a version, what is
    own stays as the program has it. Returns the names of those shared predictors that stay so
    too because the base is of another shape there. Raises StateRefused, with the module
    unchanged, if the version does not fit.
    """
    if version is not None and (own is None or version.user_id is None):
        apply(module, version.state, version.fingerprint)
        return ()
    if own is None:
        return ()
    kept: dict[str, Any] = {}
    others: tuple[str, ...] = ()
    if version is not None:
        kept |= fitting(module, version.state, version.fingerprint, own)
    if base is not None:
        usable, others = _shared(module, base, own)
        kept |= fitting(module, base.state, base.fingerprint, usable)
    give(module, kept)
    return others


def own_part(
    module: "dspy.Module", state: Mapping[str, Any], own: Collection[str] | None
) -> dict[str, Any]:
    """Return what of a state is kept as a user's: the ``own`` predictors, the shared left out.

    Raises StateRefused for a predictor that the module does not have, and where an own one is
    missing. None stands for all predictors.
    """
    shared = set() if own is None else predictors(module).keys() - set(own)
    kept = {name: each for name, each in clean_state(state).items() if name not in shared}
    check_fits(module, kept, own)
    return kept


def _shared(
    module: "dspy.Module", base: Stored, own: Collection[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the shared predictors whose shape the base has, and those that it has not."""
    saved = shape.divided(base.fingerprint, clean_state(base.state))
    shared = {name: each for name, each in shape.shapes(module).items() if name not in own}
    usable = [name for name in shared if saved.get(name) == shared[name]]
    return usable, tuple(name for name in shared if name not in usable)
