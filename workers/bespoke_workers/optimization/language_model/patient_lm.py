"""A ``dspy.LM`` whose calls are made again by us, where a stop can cut the waiting short."""

import asyncio
from typing import Any

import dspy
from dspy.utils.exceptions import LMError

from bespoke_workers.optimization.language_model import gate


class PatientLM(dspy.LM):  # type: ignore[misc]  # dspy ships no types
    """Makes a call again as its run's gate says; each attempt is a call to DSPy's callbacks."""

    def __init__(self, model: str, **options: Any) -> None:
        super().__init__(model, num_retries=0, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model until it answers, or its failure is final."""
        way = gate.current()
        if way is None:
            return super().__call__(*args, **kwargs)
        trial = way.trial()
        while True:
            try:
                return super().__call__(*args, **kwargs)
            except LMError as error:
                trial.failed(error)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Do the same for a program that awaits its calls."""
        way = gate.current()
        if way is None:
            return await super().acall(*args, **kwargs)
        trial = way.trial()
        while True:
            try:
                return await super().acall(*args, **kwargs)
            except LMError as error:
                failure = error
            await asyncio.to_thread(trial.failed, failure)
