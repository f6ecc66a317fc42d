"""What users say of outputs, as examples; and the optimization that is due after enough of it."""

from typing import Protocol
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.examples import Feedback, Judged
from bespoke_schemas.optimization import Tier
from bespoke_workers import modules
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import Learner
from bespoke_workers.learning.checking import check_feedback, wanted
from bespoke_workers.learning.sets import ExampleSet, locked
from bespoke_workers.settings import Settings


class Reoptimizing(Protocol):
    """What learning knows of optimization; ``optimization.reoptimization`` has it."""

    async def write_if_due(
        self, session: AsyncSession, learner: Learner, cause: UUID
    ) -> UUID | None:
        """Write the optimization that is due for a locked learner; return its id, or None."""

    def send(self, job_id: UUID) -> None:
        """Send the message of one that is committed."""

    def missing(self, learner: Learner) -> int | None:
        """Return how many new examples are missing until one is due; None: it never is."""

    def tier_for(self, count: int) -> Tier:
        """Return the tier that follows from a number of examples."""


class Learning:
    """Takes feedback, each of it once."""

    def __init__(
        self, database: Database, settings: Settings, reoptimization: Reoptimizing
    ) -> None:
        self._database = database
        self._settings = settings
        self._reoptimization = reoptimization

    async def take(self, payload: Feedback) -> Judged:
        """Take one feedback; raises Refused for an unknown program or inputs that are not its."""
        modules.load(self._settings.programs)
        check_feedback(payload)
        judged = await once(self._database, payload, lambda session: self._take(session, payload))
        if judged.optimization is not None:
            # On a redelivery too: whoever had it may have died before sending.
            self._reoptimization.send(judged.optimization)
        return judged

    async def _take(self, session: AsyncSession, payload: Feedback) -> Judged:
        most = self._settings.max_examples
        kept = await locked(session, payload.user_id, payload.program, most)
        judged = await _judged(kept, payload)
        due = await self._reoptimization.write_if_due(session, kept.learner, payload.id)
        session.add(kept.learner)
        return judged.model_copy(update={"optimization": due})


async def _judged(kept: ExampleSet, payload: Feedback) -> Judged:
    learner, example, added, removed = kept.learner, wanted(payload), 0, 0
    if example is None:
        replaced = await kept.remove({**payload.inputs, **payload.outputs})
    else:
        replaced = await kept.remove_others(payload.inputs, example)
        added = await kept.add([example])
        removed = await kept.remove_oldest()
    if payload.positive:
        learner.approved_total += 1
    elif example is not None:
        learner.corrected_total += 1
    else:
        learner.rejected_total += 1
    return Judged(
        outcome="counted" if example is None else "added" if added else "known",
        replaced=replaced,
        removed=removed,
        total=learner.example_count,
        optimization=None,
    )
