"""The optimizers: each built fresh for one job, for one student, and thrown away with it.

An optimizer object used twice mixes the demonstrations of two users.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import dspy

Metric = Callable[..., Any]
Compile = Callable[[Any, Metric, list[Any]], Any]

DEMOS: Final = 16  # labelled examples that a prompt shows at most
BOOTSTRAPPED: Final = 4  # of which the program answered itself
SEED: Final = 9
FEWEST: Final = 2  # MIPROv2 sets aside some of the training examples for itself


def compile_program(optimizer: str, student: Any, metric: Metric, train: Sequence[Any]) -> Any:
    """Return ``student`` compiled by the optimizer of that name on the examples of ``train``.

    Must run in the ``dspy.context`` of its job, with a student of which nobody else has a
    reference. Raises whatever the optimizer raises.
    """
    return _COMPILE[optimizer](student, metric, list(train))


def _labeled(student: Any, metric: Metric, train: list[Any]) -> Any:
    return dspy.LabeledFewShot(k=DEMOS).compile(student, trainset=train)


def _bootstrap(student: Any, metric: Metric, train: list[Any]) -> Any:
    optimizer = dspy.BootstrapFewShot(
        metric=metric, max_bootstrapped_demos=BOOTSTRAPPED, max_labeled_demos=DEMOS
    )
    return optimizer.compile(student, trainset=train)


def _mipro(student: Any, metric: Metric, train: list[Any]) -> Any:
    optimizer = dspy.MIPROv2(
        metric=metric,
        auto="light",
        seed=SEED,
        max_bootstrapped_demos=BOOTSTRAPPED,
        max_labeled_demos=DEMOS,  # its own default of 4 would show less than a smaller tier does
        track_stats=False,
    )
    return optimizer.compile(student, trainset=train)


_COMPILE: Final[dict[str, Compile]] = {
    "LabeledFewShot": _labeled,
    "BootstrapFewShot": _bootstrap,
    "MIPROv2": _mipro,
}
