"""A change that is made, and the telling of it that is still to be done."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from bespoke_schemas.payload import Result

ResultT = TypeVar("ResultT", bound=Result)


def silence() -> None:
    """Tell of nothing."""


class Done(NamedTuple, Generic[ResultT]):
    """The result of a change, and what tells of it once it is made."""

    result: ResultT
    tell: Callable[[], None] = silence
