"""Payloads of shared spaces: memories that several users have in common."""

from typing import Generic

from bespoke_schemas.fields import SHARED, Name, UserId
from bespoke_schemas.payload import Payload, Result, ResultT
from bespoke_schemas.queues import Queue


def shared_owner(space: str) -> str:
    """Return the owner of the memories in a shared space, in the place of a user's id."""
    return SHARED + space


class InSpace(Payload[ResultT], Generic[ResultT]):
    """A payload about a user's own memories, or about those of a space that the user shares.

    ``space`` is the name of a shared space that the user has joined; None is the user's own.
    """

    user_id: UserId
    space: Name | None = None

    def subject(self) -> str:
        """Return whose memories this payload is about."""
        return self.user_id if self.space is None else shared_owner(self.space)


class Members(Result):
    """The users who share a space, in order of their ids."""

    members: tuple[str, ...]


class Membership(Payload[Members]):
    """A payload about who shares a space."""

    space: Name

    def subject(self) -> str:
        """Return whose memories this payload is about."""
        return shared_owner(self.space)


class Join(Membership, queue=Queue.MEMORIES):
    """Let a user share a space; the first to join makes it. To join again changes nothing.

    Those who share a space read and change all that is in it. What one says that another has said
    before is merged, and ``metadata["said_by"]`` names who said what is kept.
    """

    user_id: UserId


class Leave(Membership, queue=Queue.MEMORIES):
    """Let a user no longer share a space. What the user said there stays with the others."""

    user_id: UserId


class ListMembers(Membership, queue=Queue.READS):
    """List the users who share a space."""
