"""One run's training: begun once, waited for, and taken up by the next worker if this one dies."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from bespoke_workers.errors import Permanent, Refused, Transient
from bespoke_workers.optimization.finetuning.provider import (
    Begun,
    Leftover,
    Line,
    Provider,
    Trained,
    Training,
)
from bespoke_workers.optimization.finetuning.rows import Rows
from bespoke_workers.optimization.leases import Claim
from bespoke_workers.optimization.stopping import LostLease, Stop
from bespoke_workers.programs.user_models import UserModels

FIRST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 20.0
"""Between two looks at a training; the time doubles from the first to this."""
STATEMENT_SECONDS: Final = 60.0

T = TypeVar("T")


class Trainer:
    """Trains the model of one claimed run, in the run's own thread, which has no event loop."""

    def __init__(
        self,
        provider: Provider,
        models: UserModels,
        rows: Rows,
        claim: Claim,
        stop: Stop,
        *,
        usd_per_million: float | None,
        spend: Callable[[float], object],
    ) -> None:
        """Make it within the event loop of the rows' database.

        ``spend`` is told what the training cost, where that is known.
        """
        self._provider = provider
        self._models = models
        self._rows = rows
        self._claim = claim
        self._stop = stop
        self._usd_per_million = usd_per_million
        self._spend = spend
        self._loop = asyncio.get_running_loop()
        self._begun = Begun()

    def train(self, lines: Sequence[Line]) -> Any:
        """Return a language model that was trained on calls.

        Raises Stopped where the run is to stop, which leaves what was begun to whoever takes the
        run up or sees to what it left; and the reason for which there is no model.
        """
        claim = self._claim
        training = Training(claim.job_id, claim.user_id, claim.program, lines)
        row = self._wait(self._rows.opened(training, self._provider))
        if row.state == "failed":
            raise Refused(row.error or "the training failed")
        if row.state != "trained":
            self._begun = Begun(row.file_id, row.remote_id)
            self._train(training)
            row = self._wait(self._rows.opened(training, self._provider))
            self._spend(row.cost_usd or 0.0)
        return self._models.language_model(row)

    def _train(self, training: Training) -> None:
        provider = self._provider
        try:
            begun = self._patiently(lambda: provider.begin(training, self._begun, self._note))
            trained = self._patiently(lambda: provider.look(training, begun))
        except LostLease:
            raise
        except Permanent as error:
            self._wait(self._rows.failed(str(error)))
            raise
        self._wait(self._rows.trained(trained, self._cost(trained)))

    def _note(self, begun: Begun) -> None:
        """Write how far it has begun; where the user was erased meanwhile, take it back."""
        self._begun = begun
        try:
            self._wait(self._rows.begun(begun))
        except LostLease:
            if self._wait(self._rows.is_gone()):
                claim = self._claim
                self._provider.remove(Leftover(claim.job_id, claim.user_id, begun, None))
            raise

    def _patiently(self, ask: Callable[[], T | None]) -> T:
        """Ask until there is an answer, ever more rarely, through outages of the provider."""
        pause = FIRST_SECONDS
        while True:
            self._stop.check()
            try:
                answer = ask()
            except Transient:
                answer = None
            if answer is not None:
                return answer
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_SECONDS)

    def _cost(self, trained: Trained) -> float | None:
        if trained.tokens is None or self._usd_per_million is None:
            return None
        return trained.tokens * self._usd_per_million / 1e6

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STATEMENT_SECONDS)
