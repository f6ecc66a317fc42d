"""A version of a program, as answers tell it."""

from uuid import UUID

from pydantic import JsonValue

from bespoke_schemas.fields import Moment
from bespoke_schemas.payload import Result


class Version(Result):
    """One saved version of a program; ``user_id`` is None for the shared base.

    ``checkpoint`` is the name of one that is a checkpoint, and ``checkpoint_of`` the optimization
    that made it.
    """

    program_id: UUID
    user_id: str | None
    program: str
    signature: str
    optimizer: str | None
    score: float | None
    state: dict[str, JsonValue]
    optimization_result: dict[str, JsonValue]
    tags: tuple[str, ...]
    description: str
    metadata: dict[str, JsonValue]
    fingerprint: str
    parent_id: UUID | None
    size_bytes: int
    saved_at: Moment
    checkpoint: str | None = None
    checkpoint_of: UUID | None = None


class VersionSummary(Result):
    """One saved version in brief: no state, no optimization result, no metadata.

    ``active`` says whether its owner has it in use: the user whose version it is, or the shared
    base. ``description`` is cut after 200 characters. ``checkpoint`` is the name of one that is a
    checkpoint, and ``checkpoint_of`` the optimization that made it.
    """

    program_id: UUID
    user_id: str | None
    program: str
    signature: str
    optimizer: str | None
    score: float | None
    tags: tuple[str, ...]
    description: str
    parent_id: UUID | None
    size_bytes: int
    saved_at: Moment
    active: bool
    checkpoint: str | None = None
    checkpoint_of: UUID | None = None
