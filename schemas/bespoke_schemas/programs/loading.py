"""Payloads that load one version, its state included."""

from typing import Literal
from uuid import UUID

from bespoke_schemas.fields import Name, Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.programs.versions import Version
from bespoke_schemas.queues import Queue


class UserModel(Result):
    """The model that a user's version is called with, as the workers' own table has it.

    ``name`` is what the ``provider`` knows it by, and ``base_model`` what it was made of. The
    small model of provider ``local`` comes along as ``content``; of others the application knows
    itself where they are and with which key they are called.
    """

    provider: Literal["local", "openai"]
    name: str
    base_model: str
    content: str | None = None


class Loaded(Result):
    """A version, or None where there is none: a missing version is an answer, not an error.

    Where only some predictors of the program are a user's own, ``own`` names them, a user's
    version holds no others, and ``base`` is the shared version in use, which has the others.
    `bespoke_schemas.program_state.assemble` makes a module of all three. A version that was made
    by fine-tuning has a ``model`` of its own, which its own predictors are called with.
    """

    version: Version | None
    base: Version | None = None
    own: tuple[Name, ...] | None = None
    model: UserModel | None = None


class Load(Payload[Loaded], queue=Queue.PROGRAMS):
    """Load a version by its id; with ``user_id``, only if it is that user's or shared."""

    program_id: UUID
    user_id: UserId | None = None


class LoadActive(Payload[Loaded], queue=Queue.PROGRAMS):
    """Load the version that a user has in use, else the shared base's."""

    program: Name
    user_id: UserId | None = None


class Best(Payload[Loaded], queue=Queue.PROGRAMS):
    """Load the version of the highest score, the newest on a tie.

    Looks at one user's versions, or at the shared base's if no user is named; at checkpoints
    only with ``checkpoints``.
    """

    program: Name | None = None
    signature: Text | None = None
    user_id: UserId | None = None
    checkpoints: bool = False
