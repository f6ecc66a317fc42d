"""What a batch came to, counted from its users' rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.optimization import BatchSummary
from bespoke_workers.database.tables import Batch
from bespoke_workers.optimization.batches import batch_statements as statements

ERRORS: Final = 1000
"""Users whose errors a summary names; it must stay a message, not a table."""


@dataclass(frozen=True)
class Figures:
    """The figures of a batch's runs by now: scores are means, the rest are counts and sums."""

    runs: dict[str, int] = field(default_factory=dict)
    promoted: int = 0
    score_before: float | None = None
    score_after: float | None = None
    lm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    unpriced_calls: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, rows: Iterable[Any]) -> Self:
        """Add up the figures of runs by their states; only those that succeeded have scores."""
        by_state = {row.run_state: row for row in rows}
        found = by_state.values()
        succeeded = by_state.get("succeeded")
        return cls(
            runs={state: row.users for state, row in sorted(by_state.items())},
            promoted=sum(row.promoted for row in found),
            score_before=succeeded.score_before if succeeded else None,
            score_after=succeeded.score_after if succeeded else None,
            lm_calls=sum(int(row.lm_calls) for row in found),
            prompt_tokens=sum(int(row.prompt_tokens) for row in found),
            completion_tokens=sum(int(row.completion_tokens) for row in found),
            cost_usd=sum(row.cost_usd for row in found),
            unpriced_calls=sum(int(row.unpriced_calls) for row in found),
            seconds=sum(row.seconds for row in found),
        )

    @property
    def users(self) -> int:
        """How many users were planned."""
        return sum(self.runs.values())

    @property
    def ended(self) -> int:
        """How many users' runs have ended, one way or another."""
        return self.users - sum(self.runs.get(state, 0) for state in statements.OPEN_RUNS)

    @property
    def failed(self) -> int:
        """How many users' runs came to nothing."""
        return sum(self.runs.get(state, 0) for state in statements.IN_VAIN)

    @property
    def unchanged(self) -> int:
        """How many users keep the version that they had."""
        return self.runs.get("succeeded", 0) - self.promoted


async def figures(session: AsyncSession, batch_id: UUID) -> Figures:
    """Return the figures of a batch's runs."""
    connection = await session.connection()
    return Figures.of((await connection.execute(statements.figures(batch_id))).all())


async def summarize(session: AsyncSession, batch: Batch) -> BatchSummary:
    """Return what a batch has come to by now."""
    found = await figures(session, batch.id)
    connection = await session.connection()
    asked = statements.errors(batch.id, None, ERRORS - 1)
    errors = (await connection.execute(asked)).all()
    return BatchSummary(
        batch_id=batch.id,
        program=batch.program,
        tier=batch.tier,
        eligible=found.users,
        promoted=found.promoted,
        unchanged=found.unchanged,
        failed=found.failed,
        errors={row.user_id: row.error or "cancelled" for row in errors},
        score_before=found.score_before,
        score_after=found.score_after,
        lm_calls=found.lm_calls,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cost_usd=found.cost_usd,
        unpriced_calls=found.unpriced_calls,
        seconds=found.seconds,
        skipped=found.runs.get("skipped", 0),
        over_budget=batch.over_budget,
    )
