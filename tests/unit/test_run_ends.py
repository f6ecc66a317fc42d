"""What an optimizer that was stopped leaves behind."""

import weakref
from typing import Any

import pytest

from bespoke_workers.optimization.judging.judging import _left_clean
from bespoke_workers.optimization.optimizers.optimizers import Compiled
from bespoke_workers.optimization.stopping import Stopped


class Bar:
    """Stands for a progress bar that prints itself when it is let go of."""


@pytest.mark.parametrize("error", [Stopped, ValueError])
def test_what_a_stopped_optimizer_held_is_gone_while_its_error_is_still_there(
    error: type[BaseException],
) -> None:
    held: list[weakref.ref[Any]] = []

    def compiling() -> Compiled:
        bar = Bar()
        held.append(weakref.ref(bar))
        raise error

    with pytest.raises(error) as raised:
        _left_clean(compiling)

    assert raised.value.__traceback__ is not None
    assert held[0]() is None
