"""One user's set of examples for one program: what changes it, and the counters beside it.

Whoever changes a set has its learner's row locked, so that the counters are what they say.
"""

from collections.abc import Sequence

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import uuid7
from bespoke_workers.database.tables import Learner
from bespoke_workers.learning.checking import Fields, canonical, digest

# One statement for any number of rows: a VALUES list of thousands would meet the limit of
# 32,767 parameters.
_INSERT = text(
    """
    INSERT INTO example (id, user_id, program, position, fields, digest)
    SELECT
        new.id, :user_id, :program, :first + row_number() OVER (ORDER BY new.ordinality) - 1,
        CAST(new.fields AS jsonb), new.digest
    FROM unnest(CAST(:ids AS uuid[]), CAST(:fields AS text[]), CAST(:digests AS text[]))
        WITH ORDINALITY AS new (id, fields, digest, ordinality)
    WHERE NOT EXISTS (
        SELECT FROM example
        WHERE example.user_id = :user_id AND example.program = :program
            AND example.digest = new.digest
    )
    """
)
_REMOVE_OLDEST = text(
    """
    DELETE FROM example
    WHERE user_id = :user_id AND program = :program AND id IN (
        SELECT id FROM example WHERE user_id = :user_id AND program = :program
        ORDER BY position LIMIT :surplus
    )
    """
)
# A set is bounded, so that no index is needed to compare the inputs of all of it.
_REMOVE_OTHERS = text(
    """
    DELETE FROM example
    WHERE user_id = :user_id AND program = :program AND digest <> :digest AND (
        SELECT jsonb_object_agg(name, fields -> name) FROM unnest(CAST(:names AS text[])) AS name
    ) = CAST(:inputs AS jsonb)
    """
)
_REMOVE_ONE = text(
    "DELETE FROM example WHERE user_id = :user_id AND program = :program AND digest = :digest"
)
_REMOVE_ALL = text("DELETE FROM example WHERE user_id = :user_id AND program = :program")


class ExampleSet:
    """The examples of one learner, whose row is locked until the transaction ends."""

    def __init__(self, session: AsyncSession, learner: Learner, most: int) -> None:
        self._session = session
        self.learner = learner
        self._most = most
        self._owner = {"user_id": learner.user_id, "program": learner.program}

    async def add(self, examples: Sequence[Fields]) -> int:
        """Add those that are not there yet, in their order; return how many those are."""
        new = {digest(fields): fields for fields in reversed(examples)}  # of repeats the first
        unique = list(reversed(new.items()))
        added = await self._execute(
            _INSERT,
            ids=[uuid7() for _ in unique],
            first=self.learner.added_total,
            fields=[canonical(fields) for _, fields in unique],
            digests=[key for key, _ in unique],
        )
        self.learner.example_count += added
        self.learner.added_total += added
        return added

    async def remove_oldest(self) -> int:
        """Remove the oldest examples beyond the bound; return how many those were."""
        surplus = self.learner.example_count - self._most
        return await self._removed(_REMOVE_OLDEST, surplus=surplus) if surplus > 0 else 0

    async def remove_others(self, inputs: Fields, kept: Fields) -> int:
        """Remove the examples of the same inputs except ``kept``; return how many those were."""
        return await self._removed(
            _REMOVE_OTHERS, names=list(inputs), inputs=canonical(inputs), digest=digest(kept)
        )

    async def remove(self, fields: Fields) -> int:
        """Remove this example; return whether it was there, as 1 or 0."""
        return await self._removed(_REMOVE_ONE, digest=digest(fields))

    async def clear(self) -> int:
        """Remove all; return how many those were. Nothing is new any more, and no counter falls."""
        self.learner.optimized_total = self.learner.added_total
        return await self._removed(_REMOVE_ALL)

    async def _removed(self, statement: TextClause, **values: object) -> int:
        removed = await self._execute(statement, **values)
        self.learner.example_count -= removed
        return removed

    async def _execute(self, statement: TextClause, **values: object) -> int:
        connection = await self._session.connection()
        done = await connection.execute(statement, {**self._owner, **values})
        self._session.add(self.learner)
        return int(done.rowcount)


async def locked(session: AsyncSession, user_id: str, program: str, most: int) -> ExampleSet:
    """Lock a learner, who begins here if need be; at most ``most`` examples are kept."""
    await session.exec(
        insert(Learner).values(user_id=user_id, program=program).on_conflict_do_nothing()
    )
    statement = (
        select(Learner)
        .where(Learner.user_id == user_id, Learner.program == program)
        .with_for_update()
    )
    return ExampleSet(session, (await session.exec(statement)).one(), most)
