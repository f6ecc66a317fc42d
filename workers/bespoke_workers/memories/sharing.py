"""Shared spaces: whose memories a payload is about, and who may ask for them.

The memories of a shared space are those of one owner, like a user's, so that every rule of a
user's memories is theirs too: one index, one policy, and no duplicates whoever said them.
"""

from typing import Any, TypeVar

from sqlalchemy import Text, delete
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import Payload
from bespoke_schemas.memories import Join, Leave, ListMembers, Members, Store, StoreMany, Update
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import SpaceMember
from bespoke_workers.errors import Refused
from bespoke_workers.memories.statements import statement

SAID_BY = "said_by"
"""The metadata that names the member who said a memory of a shared space."""

IS_MEMBER = statement(
    """
    SELECT EXISTS (SELECT FROM space_member WHERE space = :space AND user_id = :user_id)
        AS is_member, admitted(:user_id, :id)
    """,
    space=Text(),
)
"""Tell whether a user shares a space; raises for a job of a user who was erased since."""

ADMIT = statement("SELECT admitted(:user_id, :id)")
"""Raise for a job of a user who was erased since it was made."""

PayloadT = TypeVar("PayloadT", bound=Payload[Any])


def owned(payload: PayloadT, is_member: bool) -> PayloadT:
    """Return a payload about a shared space as one about the owner of its memories.

    Raises Refused where the user is no member.
    """
    if not is_member:
        raise Refused("space: the user does not share it; enqueue memories.Join for the user first")
    changed: dict[str, Any] = {"user_id": payload.subject(), "space": None}
    said_by = {SAID_BY: getattr(payload, "user_id", None)}
    if isinstance(payload, Store | Update) and payload.metadata is not None:
        changed["metadata"] = payload.metadata | said_by
    if isinstance(payload, StoreMany):
        changed["memories"] = tuple(
            one.model_copy(update={"metadata": one.metadata | said_by}) for one in payload.memories
        )
    return payload.model_copy(update=changed)


class Sharing:
    """Keeps who shares which space."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def addressed(self, payload: PayloadT) -> PayloadT:
        """Return the payload as one about the owner of the memories that it is about.

        Raises Refused where it names a shared space that its user has not joined.
        """
        space = getattr(payload, "space", None)
        if space is None:
            return payload
        async with self._database.transaction() as session:
            sought = {"space": space, "user_id": getattr(payload, "user_id", None)}
            connection = await session.connection()
            found = await connection.execute(IS_MEMBER, {**sought, "id": payload.id})
            return owned(payload, found.one().is_member)

    async def join(self, payload: Join) -> Members:
        """Let a user share a space; once per job id."""

        async def effect(session: AsyncSession) -> Members:
            connection = await session.connection()
            await connection.execute(ADMIT, {"user_id": payload.user_id, "id": payload.id})
            member = {"space": payload.space, "user_id": payload.user_id}
            await session.exec(insert(SpaceMember).values(member).on_conflict_do_nothing())
            return await _members(session, payload.space)

        return await once(self._database, payload, effect)

    async def leave(self, payload: Leave) -> Members:
        """Let a user no longer share a space; once per job id."""

        async def effect(session: AsyncSession) -> Members:
            is_theirs = col(SpaceMember.user_id) == payload.user_id
            is_there = col(SpaceMember.space) == payload.space
            await session.exec(delete(SpaceMember).where(is_theirs, is_there))
            return await _members(session, payload.space)

        return await once(self._database, payload, effect)

    async def members(self, payload: ListMembers) -> Members:
        """Return who shares a space."""
        async with self._database.transaction() as session:
            return await _members(session, payload.space)


async def _members(session: AsyncSession, space: str) -> Members:
    of_space = select(SpaceMember.user_id).where(SpaceMember.space == space)
    found = await session.exec(of_space.order_by(col(SpaceMember.user_id)))
    return Members(members=tuple(found))
