"""What a service may tell the queue, without knowing the queue.

Messages are sent after the commit of what they are about: a job must never see a row
that was rolled back. A message that is lost between the two is sent again by the reaper.
"""

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from bespoke_schemas import Payload, Result
from bespoke_schemas.jobs import Progress

Tell = Callable[[Progress], None]
"""What a service calls to tell how far its job is."""


def to_nobody(progress: Progress) -> None:
    """Tell nobody how far a job is."""


class Outbox(Protocol):
    """The queue as the services see it; ``app.CeleryOutbox`` is the real one."""

    def enqueue(self, payload: Payload[Any]) -> None:
        """Send a payload to the queue that it names."""

    def run_optimization(
        self, job_id: UUID, *, finetuning: bool = False, answered: bool = True
    ) -> None:
        """Send the message that says: run this row of ``optimization_job``.

        Those that fine-tune have a queue of their own. Where nobody waits for the run itself,
        it is not ``answered``: its end is in the database alone.
        """

    def go_on(self, round_id: UUID) -> None:
        """Send the message that says: plan more users of this round, or end it."""

    def reembed(self) -> None:
        """Ask for more spaces to be embedded anew; where that is lost, beat asks again."""

    def prune(self) -> None:
        """Ask for more old records to be deleted; where that is lost, the next night asks."""

    def progress(self, job_id: UUID, task: str, progress: Progress) -> None:
        """Tell whoever watches a job how far it is."""

    def succeed(self, job_id: UUID, task: str, result: Result) -> None:
        """Answer a job whose own message is gone."""

    def fail(self, job_id: UUID, error: Exception) -> None:
        """Tell that a job failed whose own message is gone."""
