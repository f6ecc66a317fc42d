"""Listing a user's examples, and telling of them in numbers."""

from sqlmodel import col, select

from bespoke_schemas.examples import (
    ExampleStats,
    KeptExample,
    LearnerStats,
    List,
    Listed,
    Stats,
)
from bespoke_workers import modules
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Example, Learner
from bespoke_workers.learning.feedback import Reoptimizing
from bespoke_workers.programs import registry
from bespoke_workers.settings import Settings


class Reading:
    """Reads the examples of any user, and what is counted of them."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        reoptimization: Reoptimizing,
    ) -> None:
        self._database = database
        self._settings = settings
        self._reoptimization = reoptimization

    async def list(self, payload: List) -> Listed:
        """Return a page of examples in the order of their adding."""
        owned = Example.user_id == payload.user_id, Example.program == payload.program
        statement = select(Example).where(*owned)
        if payload.after is not None:
            statement = statement.where(Example.position > payload.after)
        page = statement.order_by(col(Example.position)).limit(payload.limit + 1)
        async with self._database.transaction() as session:
            rows = (await session.exec(page)).all()
            learner = await session.get(Learner, (payload.user_id, payload.program))
        found = tuple(
            KeptExample(position=row.position, created_at=row.created_at, fields=row.fields)
            for row in rows[: payload.limit]
        )
        return Listed(
            examples=found,
            total=0 if learner is None else learner.example_count,
            next=found[-1].position if len(rows) > payload.limit else None,
        )

    async def stats(self, payload: Stats) -> ExampleStats:
        """Tell of all the user's programs, or of one; raises Refused if that one is unknown."""
        modules.load(self._settings.programs)
        statement = select(Learner).where(Learner.user_id == payload.user_id)
        if payload.program is not None:
            statement = statement.where(Learner.program == payload.program)
        async with self._database.transaction() as session:
            learners = (await session.exec(statement.order_by(col(Learner.program)))).all()
        if not learners and payload.program is not None:
            registered = registry.get(payload.program)
            learners = [_beginner(payload.user_id, registered.name)]
        return ExampleStats(programs=tuple(self._told(learner) for learner in learners))

    def _told(self, learner: Learner) -> LearnerStats:
        registered = registry.find(learner.program)
        return LearnerStats(
            program=learner.program,
            examples=learner.example_count,
            added_total=learner.added_total,
            new=min(learner.added_total - learner.optimized_total, learner.example_count),
            approved=learner.approved_total,
            corrected=learner.corrected_total,
            rejected=learner.rejected_total,
            tier=self._reoptimization.tier_for(learner.example_count),
            tier_by_hand=learner.tier,
            inputs=() if registered is None else registered.inputs,
            reoptimized_after=self._reoptimization.missing(learner),
        )


def _beginner(user_id: str, program: str) -> Learner:
    """Return whoever has no example yet, and is counted nowhere."""
    counters = (name for name, field in Learner.model_fields.items() if field.annotation is int)
    return Learner.model_validate(
        {"user_id": user_id, "program": program, **dict.fromkeys(counters, 0)}
    )
