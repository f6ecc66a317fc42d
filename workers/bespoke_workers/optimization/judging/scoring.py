"""Scoring a program on held-out examples, in a way that tells a bad answer from none."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from dspy.utils.exceptions import LMError

from bespoke_workers.errors import Refused
from bespoke_workers.optimization.judging.comparison import Score
from bespoke_workers.optimization.judging.metrics import score_of
from bespoke_workers.optimization.judging.together import together
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.programs.registry import Program

GIVE_UP_AFTER: Final = 8
"""Examples without an answer, if none had one: each took seconds of retrying."""


def score(
    program: Program, answering: Sequence[Any], held_out: Sequence[Any], watch: Watch, threads: int
) -> list[Score]:
    """Return a score for each held-out example; None where the LM did not answer.

    ``answering`` has for each example the module that is asked.

    An example on which the program or the metric raises scores 0, as in DSPy. Raises
    Refused if all of them raise, or if the LM answers for none: it names the error's type
    and nothing of its text, which may quote an example.
    """
    errors: Counter[str] = Counter()
    answered: Counter[bool] = Counter()

    def one(asked: tuple[Any, Any]) -> Score:
        module, example = asked
        if not answered[True] and answered[False] >= GIVE_UP_AFTER:
            return None
        try:
            prediction = module(**example.inputs())
        except LMError:
            answered[False] += 1
            return None
        except Exception as error:  # noqa: BLE001  # an application's program may raise anything
            errors[f"the program {program.name!r} raised {type(error).__name__}"] += 1
            return 0.0
        finally:
            watch.advance()
        answered[True] += 1
        try:
            return _number(score_of(program.metric(example, prediction)))
        except Exception as error:  # noqa: BLE001  # and so may its metric
            errors[f"the metric of {program.name!r} raised {type(error).__name__}"] += 1
            return 0.0

    scores = together(one, list(zip(answering, held_out, strict=True)), threads)
    if all(value is None for value in scores):
        raise Refused(
            f"the language model answered nothing: {watch.failure()}; check BESPOKE_LM, "
            "BESPOKE_LM_API_BASE and BESPOKE_LM_API_KEY"
        )
    if errors.total() == sum(value is not None for value in scores):
        raise Refused(f"{errors.most_common(1)[0][0]} on every held-out example; correct it")
    known = [value for value in scores if value is not None]
    watch.scored(sum(known) / len(known))
    return scores


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number
