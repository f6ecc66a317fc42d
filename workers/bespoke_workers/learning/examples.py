"""The training examples of every user, and how many of them there are."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import uuid7
from bespoke_schemas.examples import Add, Added, AddMany
from bespoke_workers import modules
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import Example, Learner
from bespoke_workers.errors import Refused
from bespoke_workers.programs import registry
from bespoke_workers.settings import Settings

Fields = Mapping[str, Any]

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
            self._database,
            payload,
            lambda session: _add(session, payload.user_id, payload.program, [payload.example]),
        )

    async def add_many(self, payload: AddMany) -> Added:
        """Add all of the examples or, if one of them is refused, none."""
        modules.load(self._settings.programs)
        check(payload.program, payload.examples)
        return await once(
            self._database,
            payload,
            lambda session: _add(session, payload.user_id, payload.program, payload.examples),
        )

    async def for_training(
        self, session: AsyncSession, user_id: str, program: str
    ) -> list[dict[str, Any]]:
        """Return the fields of one user's examples in the order of their adding."""
        statement = (
            select(Example.fields)
            .where(Example.user_id == user_id, Example.program == program)
            .order_by(col(Example.position))
        )
        return [dict(fields) for fields in await session.exec(statement)]


def check(program: str, examples: Sequence[Fields]) -> None:
    """Raise Refused unless each example has the program's inputs and at least one output."""
    inputs = registry.get(program).inputs
    for number, fields in enumerate(examples, start=1):
        place = f"example {number} of {len(examples)}" if len(examples) > 1 else "the example"
        missing = [name for name in inputs if name not in fields]
        if missing:
            raise Refused(
                f"{place} has no field {', '.join(map(repr, missing))}, an input of {program!r}; "
                f"give every input ({', '.join(inputs)}) and the outputs wanted for them"
            )
        if set(fields) <= set(inputs):
            raise Refused(
                f"{place} has only inputs of {program!r}; add the output that is wanted for them"
            )


def digest(fields: Fields) -> str:
    """Return the same short text for the same fields, in whatever order they come."""
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()


def _canonical(fields: Fields) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


async def _add(
    session: AsyncSession, user_id: str, program: str, examples: Sequence[Fields]
) -> Added:
    learner = await _locked(session, user_id, program)
    new = {digest(fields): fields for fields in reversed(examples)}  # of repeats the first stays
    unique = list(reversed(new.items()))
    connection = await session.connection()
    inserted = await connection.execute(
        _INSERT,
        {
            "user_id": user_id,
            "program": program,
            "ids": [uuid7() for _ in unique],
            "first": learner.added_total,
            "fields": [_canonical(fields) for _, fields in unique],
            "digests": [key for key, _ in unique],
        },
    )
    added = int(inserted.rowcount)
    learner.example_count += added
    learner.added_total += added
    session.add(learner)
    return Added(added=added, duplicates=len(examples) - added, total=learner.example_count)


async def _locked(session: AsyncSession, user_id: str, program: str) -> Learner:
    await session.exec(
        insert(Learner).values(user_id=user_id, program=program).on_conflict_do_nothing()
    )
    statement = (
        select(Learner)
        .where(Learner.user_id == user_id, Learner.program == program)
        .with_for_update()
    )
    return (await session.exec(statement)).one()
