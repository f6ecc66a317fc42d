"""A registered program's module and its state, as `bespoke_schemas.program_state` has it.

What that refuses becomes Refused here, and nowhere else. Imports dspy at first use.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from bespoke_schemas import program_state
from bespoke_schemas.program_state import (
    SIGNATURE_LIMIT,
    StateRefused,
    fingerprint,
    predictors,
    signature_text,
)
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.programs.registry import Program

if TYPE_CHECKING:
    import dspy

__all__ = [
    "SIGNATURE_LIMIT", "apply", "assemble", "check_fits", "clean_state", "dump", "fingerprint",
    "fresh", "own_part", "own_predictors", "pattern", "predictors", "signature_text",
]  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")


def _refusing(function: Callable[P, T]) -> Callable[P, T]:
    """Return ``function`` with its StateRefused as the Refused of a job."""

    @functools.wraps(function)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except StateRefused as refused:
            raise Refused(str(refused)) from None

    return refusing


clean_state = _refusing(program_state.clean_state)
dump = _refusing(program_state.dump)
apply = _refusing(program_state.apply)
check_fits = _refusing(program_state.check_fits)
assemble = _refusing(program_state.assemble)
own_part = _refusing(program_state.own_part)


def fresh(program: Program) -> "dspy.Module":
    """Make a new module that shares nothing that an optimizer could change with another one.

    Raises Misconfigured if the registered class cannot be built or has no predictor.
    """
    import dspy

    try:
        module = program.factory()
    except Exception as error:
        raise Misconfigured(
            f"program {program.name!r}: {program.origin}() raised {type(error).__name__}; "
            "it must be buildable without arguments"
        ) from error
    if not isinstance(module, dspy.Module) or not predictors(module):
        raise Misconfigured(
            f"program {program.name!r}: {program.origin} must be a dspy.Module with a predictor"
        )
    return program_state.separate(module)


@functools.cache
def pattern(program: Program) -> "dspy.Module":
    """Return a module of the program that tells its shape. Nobody may change it or call it."""
    return fresh(program)


@functools.cache
def own_predictors(program: Program) -> tuple[str, ...] | None:
    """Return the names of the predictors that are each user's own; None where all are.

    A program may name a submodule, such as a ``dspy.ChainOfThought``: all of its predictors
    are meant. Raises Misconfigured, with the names there are, for one that is not there.
    """
    if program.own is None:
        return None
    there = list(predictors(pattern(program)))
    for named in program.own:
        if not any(_is_of(name, named) for name in there):
            raise Misconfigured(
                f"program {program.name!r}: own names {named!r}, which is no predictor of "
                f"{program.origin}; it has {there}"
            )
    return tuple(name for name in there if any(_is_of(name, named) for named in program.own))


def _is_of(predictor: str, named: str) -> bool:
    return predictor == named or predictor.startswith((f"{named}.", f"{named}["))
