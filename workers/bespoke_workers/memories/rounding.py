"""What came of a round so far, and which of its messages are lost."""

from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.jobs import Progress
from bespoke_schemas.memories import Compaction, Round, StrategyReport
from bespoke_workers.memories import round_statements

ERRORS: Final = 100
"""How many failures a round's result names."""
PATIENCE_S: Final = 60.0
"""A user's job of which nothing is heard for so long is sent again."""
MOST_SENDS: Final = 5
GIVEN_UP: Final = f"given up: no end was heard of it after {MOST_SENDS} sendings"


async def summary(connection: AsyncConnection, round_id: UUID) -> Compaction:
    """Sum up a round over its users."""
    whose = {"round_id": round_id}
    total = (await connection.execute(round_statements.SUM_UP, whose)).one()
    errors = await connection.execute(round_statements.ERRORS, whose | {"limit": ERRORS})
    strategies = await connection.execute(round_statements.SUM_UP_STRATEGIES, whose)
    return Compaction(
        total_compacted=total.total,
        round=Round(
            users=total.users,
            compacted=total.compacted,
            failed=total.failed,
            errors={row.user_id: row.error for row in errors},
        ),
        **{
            row.name: StrategyReport.model_validate(row, from_attributes=True) for row in strategies
        },
    )


async def progress(connection: AsyncConnection, round_id: UUID, state: str) -> Progress:
    """Return how many of a round's users are done, and of how many once all are planned."""
    total = (await connection.execute(round_statements.SUM_UP, {"round_id": round_id})).one()
    return Progress(
        step=state, done=total.ended, total=None if state == "planning" else total.users
    )


async def settle(connection: AsyncConnection, round_id: UUID) -> None:
    """End the parts whose jobs have ended or never will; take as not sent what seems lost."""
    whose = {"round_id": round_id}
    await connection.execute(round_statements.SETTLE_PARTS, whose)
    waited = whose | {"patience_s": PATIENCE_S}
    await connection.execute(
        round_statements.GIVE_UP, waited | {"most_sends": MOST_SENDS, "error": GIVEN_UP}
    )
    await connection.execute(round_statements.MISS, waited)
