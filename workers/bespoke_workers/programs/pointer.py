"""The pointer to the version in use: moved here and nowhere else.

Each move to a version is kept as an activation. Those that no rollback has undone are a stack:
the newest is what is in use, and a rollback goes to one below it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, any_, bindparam, delete, func, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.types import TypeEngine
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.ids import uuid7
from bespoke_workers.database.tables import Activation, ActiveProgram, ProgramVersion
from bespoke_workers.errors import Refused

Target = tuple[str | None, str, UUID]
"""User (None: the shared base), program, and the version to put into use."""


_OF_TARGET: Final[dict[str, TypeEngine[Any]]] = {
    "id": Uuid(),
    "user_id": Text(),
    "program": Text(),
    "version_id": Uuid(),
}
MOVES: Final = 8
"""Numbers of pointers for which the statement that moves them is kept: runs move one each."""
KEPT = 100
"""Moves of one pointer after which an older activation is forgotten."""
Reason = Literal["saved", "promoted", "activated", "imported", "restored"]
"""Why a version came into use."""


async def move(session: AsyncSession, targets: Sequence[Target], *, reason: Reason) -> None:
    """Point each user's program at a version; each pair of user and program at most once.

    ``generation`` rises, and an activation is written, only where the pointer really moves.
    Raises Refused if a version is not there, or is a checkpoint.
    """
    if not targets:
        return
    await _hold(session, {version_id for _, _, version_id in targets})
    connection = await session.connection()
    await connection.execute(_moving(len(targets)), _given(targets, reason))


async def promote(session: AsyncSession, target: Target, instead_of: UUID | None) -> bool:
    """Point a user's program at a version if ``instead_of`` is in use; False if another is.

    None is none of the user's own. What somebody else puts into use at the same moment is waited
    for, and stays. The version is one that this transaction has written.
    """
    connection = await session.connection()
    given = {**_given([target], "promoted"), "instead_of": instead_of}
    moved = await connection.execute(_moving(1, only_instead=True), given)
    return moved.rowcount == 1


def _given(targets: Sequence[Target], reason: Reason) -> dict[str, Any]:
    given: dict[str, Any] = {"reason": reason}
    for place, (user_id, program, version_id) in enumerate(targets):
        own = {"id": uuid7(), "user_id": user_id, "program": program, "version_id": version_id}
        given |= {f"{name}_{place}": value for name, value in own.items()}
    return given


@lru_cache(maxsize=MOVES)
def _moving(targets: int, *, only_instead: bool = False) -> Insert:
    """Move so many pointers at once; each target's values are given under its place.

    ``only_instead`` moves from the version that is given as ``instead_of``, and from no other.
    """

    def given(place: int) -> dict[str, Any]:
        own = {name: bindparam(f"{name}_{place}", type_=kind) for name, kind in _OF_TARGET.items()}
        return {**own, "generation": 1}

    statement = insert(ActiveProgram).values([given(place) for place in range(targets)])
    new = statement.excluded
    from_there = col(ActiveProgram.version_id).is_distinct_from(new.version_id)
    if only_instead:
        instead_of = bindparam("instead_of", type_=Uuid())
        from_there &= col(ActiveProgram.version_id).is_not_distinct_from(instead_of)
    moved = (
        statement.on_conflict_do_update(
            constraint="active_program_owner",
            set_={
                "version_id": new.version_id,
                "generation": col(ActiveProgram.generation) + 1,
                "moved_at": func.now(),
            },
            where=from_there,
        )
        .returning(
            col(ActiveProgram.id), col(ActiveProgram.generation), col(ActiveProgram.version_id)
        )
        .cte("moved")
    )
    forgotten = delete(Activation).where(
        col(Activation.pointer_id) == moved.c.id,
        col(Activation.generation) <= moved.c.generation - KEPT,
    )
    reason = bindparam("reason", type_=Text())
    return (
        insert(Activation)
        .from_select(
            ["pointer_id", "generation", "version_id", "reason"],
            select(moved.c.id, moved.c.generation, moved.c.version_id, reason),
        )
        .add_cte(forgotten.cte("forgotten"))
    )


class Earlier(NamedTuple):
    """A version that was in use before the present one, and the move that brought it."""

    generation: int
    version_id: UUID


async def held(session: AsyncSession, user_id: str | None, program: str) -> ActiveProgram | None:
    """Return an owner's pointer, which nobody else moves until the transaction ends."""
    found = await session.exec(
        select(ActiveProgram)
        .where(
            # `= NULL` is written IS NULL; IS NOT DISTINCT FROM, which takes both, uses no index.
            col(ActiveProgram.user_id) == user_id,
            col(ActiveProgram.program) == program,
        )
        .with_for_update()
    )
    return found.one_or_none()


async def earlier(session: AsyncSession, pointer: ActiveProgram) -> Sequence[Earlier]:
    """Return what a rollback can go to, newest first: what was in use before, and is there."""
    found = await session.exec(
        select(Activation.generation, Activation.version_id)
        .where(
            col(Activation.pointer_id) == pointer.id,
            col(Activation.undone_at).is_(None),
            col(Activation.version_id) != pointer.version_id,
        )
        .order_by(col(Activation.generation).desc())
    )
    return [Earlier(*row) for row in found]


async def undo(session: AsyncSession, pointer: ActiveProgram, target: Earlier | None) -> None:
    """Move a held pointer back to an earlier version, or to none, and undo what came since."""
    await session.exec(
        update(Activation)
        .where(
            col(Activation.pointer_id) == pointer.id,
            col(Activation.undone_at).is_(None),
            col(Activation.generation) > (target.generation if target else 0),
        )
        .values(undone_at=func.now())
    )
    await session.exec(
        update(ActiveProgram)
        .where(
            col(ActiveProgram.id) == pointer.id,
            col(ActiveProgram.user_id).is_not_distinct_from(pointer.user_id),
        )
        .values(
            version_id=target.version_id if target else None,
            generation=col(ActiveProgram.generation) + 1,
            moved_at=func.now(),
        )
    )


async def count_uses(session: AsyncSession, version_id: UUID) -> int:
    """Return how many owners have a version in use: users, and the shared base as one."""
    uses = select(func.count()).select_from(ActiveProgram)
    return (await session.exec(uses.where(col(ActiveProgram.version_id) == version_id))).one()


async def _hold(session: AsyncSession, version_ids: set[UUID]) -> None:
    """Keep versions from being deleted until the transaction ends."""
    wanted = bindparam("ids", sorted(version_ids), type_=ARRAY(Uuid))
    statement = (
        select(ProgramVersion.id)
        .where(col(ProgramVersion.id) == any_(wanted), col(ProgramVersion.checkpoint).is_(None))
        .order_by(col(ProgramVersion.id))
        .with_for_update(read=True, key_share=True)
    )
    found = await session.exec(statement)
    missing = version_ids.difference(found.all())
    if missing:
        raise Refused(
            f"version {min(missing)} is not there, or is a checkpoint, and cannot be put into "
            "use; take another version, or restore the checkpoint"
        )


async def hold_usable(
    session: AsyncSession, user_id: str | None, program: str, version_id: UUID
) -> ProgramVersion | None:
    """Return a version of this program, the user's own or shared, or None.

    Nobody deletes it until the transaction ends.
    """
    found = await session.exec(
        select(ProgramVersion)
        .where(*_usable(user_id, program, version_id))
        .with_for_update(read=True, key_share=True)
    )
    return found.one_or_none()


async def check_usable(
    session: AsyncSession, user_id: str | None, program: str, version_id: UUID
) -> None:
    """Raise Refused unless the version is one of this program, the user's own or shared."""
    found = await session.exec(
        select(ProgramVersion.id).where(*_usable(user_id, program, version_id))
    )
    if found.first() is None:
        raise unusable(program, version_id)


def unusable(program: str, version_id: UUID) -> Refused:
    """Make the error of a version that a user may not use."""
    return Refused(
        f"no version {version_id} of program {program!r} that this user may use; "
        "save or import it first"
    )


def _usable(user_id: str | None, program: str, version_id: UUID) -> tuple[ColumnElement[bool], ...]:
    owner = col(ProgramVersion.user_id)
    return (
        col(ProgramVersion.id) == version_id,
        col(ProgramVersion.program) == program,
        or_(owner == user_id, owner.is_(None)),
    )


async def in_use(session: AsyncSession, user_id: str | None, program: str) -> ProgramVersion | None:
    """Return the user's version in use, else the shared base's, else None."""
    owner = col(ActiveProgram.user_id)
    found = await session.exec(
        select(ProgramVersion)
        .join(ActiveProgram, col(ActiveProgram.version_id) == col(ProgramVersion.id))
        .where(col(ActiveProgram.program) == program, or_(owner == user_id, owner.is_(None)))
        .order_by(owner.asc().nulls_last())
        .limit(1)
    )
    return found.first()
