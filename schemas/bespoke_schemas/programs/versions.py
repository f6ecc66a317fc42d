"""A version of a program, as answers tell it."""

from uuid import UUID

from pydantic import JsonValue

from bespoke_schemas.fields import Moment
from bespoke_schemas.payload import Result


class Version(Result):
    """One saved version of a program; ``user_id`` is None for the shared base."""

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
