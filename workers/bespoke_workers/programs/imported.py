"""Entries of a bundle on their way into the database."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.programs import pointer, versions
from bespoke_workers.programs.bundle_format import Entry, in_use_by

POINTERS_AT_ONCE = 2_000  # a statement takes 32,767 parameters, and each pointer has five


async def insert_entries(session: AsyncSession, entries: Sequence[Entry]) -> int:
    """Insert the versions that are not there yet and return their number.

    Raises Refused if one is there already with other contents.
    """
    rows = {entry.program_id: _values(entry.as_stored()) for entry in entries}
    statement = insert(ProgramVersion).values(list(rows.values()))
    result = await session.exec(
        statement.on_conflict_do_nothing(index_elements=["id"]).returning(col(ProgramVersion.id))
    )
    inserted = set(result.scalars())
    await _check_known(session, {key: row for key, row in rows.items() if key not in inserted})
    return len(inserted)


class Uses:
    """Puts the versions into use that a bundle says were."""

    def __init__(self) -> None:
        self._owners: set[tuple[str | None, str]] = set()

    @property
    def count(self) -> int:
        """How many pointers were set."""
        return len(self._owners)

    async def begin(self, session: AsyncSession, entries: Sequence[Entry]) -> None:
        """Put versions into use; raises Refused if two would be by the same user."""
        targets: list[pointer.Target] = []
        for entry in entries:
            for user_id in in_use_by(entry):
                owner = (user_id, entry.program)
                if owner in self._owners:
                    raise Refused(
                        f"version {entry.program_id}: users maps two users to one who cannot "
                        "have both their versions in use; map them apart, or do not activate"
                    )
                self._owners.add(owner)
                targets.append((*owner, entry.program_id))
        for first in range(0, len(targets), POINTERS_AT_ONCE):
            await pointer.move(
                session, targets[first : first + POINTERS_AT_ONCE], reason="imported"
            )


async def _check_known(session: AsyncSession, rows: Mapping[UUID, dict[str, Any]]) -> None:
    if not rows:
        return
    query = select(ProgramVersion).where(col(ProgramVersion.id).in_(rows))
    for known in await session.exec(query):
        for column, value in rows[known.id].items():
            if column != "size_bytes" and _canonical(getattr(known, column)) != _canonical(value):
                raise Refused(
                    f"version {known.id} exists with another {column}; versions never change, "
                    "and nothing was imported"
                )


def _values(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.program_id,
        "user_id": entry.user_id,
        "program": entry.program,
        "signature": entry.signature,
        "optimizer": entry.optimizer,
        "score": entry.score,
        "state": entry.program_data,
        "optimization_result": entry.optimization_result,
        "tags": list(entry.tags),
        "description": entry.description,
        "meta": entry.metadata,
        "fingerprint": entry.fingerprint,
        "parent_id": entry.parent_id,
        "size_bytes": versions.size_bytes(entry.program_data),
        "saved_at": entry.saved_at,
        "checkpoint": entry.checkpoint,
        "checkpoint_of": entry.checkpoint_of,
    }


def _canonical(value: Any) -> Any:
    """Return a JSON value so that equal means equal to PostgreSQL.

    JSONB keeps numbers as decimals: 1e100 comes back as an integer, which as a float it is not.
    """
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    return value
