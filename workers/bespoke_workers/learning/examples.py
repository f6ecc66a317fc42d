"""The training examples of every user: added, handed out for training, deleted."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.examples import Add, Added, AddMany, Clear, Cleared
from bespoke_workers import modules
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import Example, Learner
from bespoke_workers.learning.checking import Fields, check
from bespoke_workers.learning.sets import locked
from bespoke_workers.settings import Settings

_IN_ORDER = (
    select(Example.fields)
    .where(Example.user_id == bindparam("user_id"), Example.program == bindparam("program"))
    .order_by(col(Example.position))
)


class Examples:
    """Adds training examples, each of them once, and hands them out for training."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def add(self, payload: Add) -> Added:
        """Add one example; raises Refused for an unknown program or a field that is missing."""
        modules.load(self._settings.programs)
        check(payload.program, [payload.example])
        return await once(
            self._database, payload, lambda session: self._add(session, payload, [payload.example])
        )

    async def add_many(self, payload: AddMany) -> Added:
        """Add all of the examples or, if one of them is refused, none."""
        modules.load(self._settings.programs)
        check(payload.program, payload.examples)
        return await once(
            self._database, payload, lambda session: self._add(session, payload, payload.examples)
        )

    async def clear(self, payload: Clear) -> Cleared:
        """Delete a user's examples for one program, or for all."""
        return await once(self._database, payload, lambda session: self._clear(session, payload))

    async def for_training(
        self, connection: Connection, user_id: str, program: str
    ) -> list[dict[str, Any]]:
        """Return the fields of one user's examples in the order of their adding."""
        given = {"user_id": user_id, "program": program}
        found = await connection.execute(_IN_ORDER, given)
        return [dict(row.fields) for row in found.all()]

    async def _add(
        self, session: AsyncSession, payload: Add | AddMany, examples: Sequence[Fields]
    ) -> Added:
        most = self._settings.max_examples
        kept = await locked(session, payload.user_id, payload.program, most)
        added = await kept.add(examples)
        removed = await kept.remove_oldest()
        return Added(
            added=added,
            duplicates=len(examples) - added,
            total=kept.learner.example_count,
            removed=removed,
        )

    async def _clear(self, session: AsyncSession, payload: Clear) -> Cleared:
        named = [] if payload.program is None else [Learner.program == payload.program]
        statement = select(Learner.program).where(Learner.user_id == payload.user_id, *named)
        removed = 0
        # Always in the same order: two that clear at once then wait for each other in turn.
        for program in sorted((await session.exec(statement)).all()):
            kept = await locked(session, payload.user_id, program, self._settings.max_examples)
            removed += await kept.clear()
        return Cleared(removed=removed)
