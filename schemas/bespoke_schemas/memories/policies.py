"""Payloads of what a user's memories are kept to."""

from pydantic import Field

from bespoke_schemas.fields import Name
from bespoke_schemas.memories.sharing import InSpace
from bespoke_schemas.payload import Result
from bespoke_schemas.queues import Queue


class KindInForce(Result):
    """What the memories of one kind are kept to; None is what holds for all kinds.

    ``max_memories`` is a cap of this kind within the user's ``max_memories``.
    """

    max_memories: int | None = None
    max_age_days: int | None = None


class PolicyInForce(Result):
    """What a user's memories are kept to. ``preset`` is None where none was chosen.

    ``similarity_threshold`` is a cosine; where the policy has none it is the embedder's own.
    ``rolled_out`` says that the preset was not chosen for this user, but for a share of all.
    ``kinds`` are those with rules of their own.
    """

    preset: str | None
    rolled_out: bool = False
    max_memories: int
    max_age_days: int
    similarity_threshold: float
    low_access_threshold: float
    dedup_guard: bool
    eviction: str
    scoring: str = "default"
    compaction: str = "inline"
    kinds: dict[str, KindInForce] = Field(default_factory=dict)


class SetPolicy(InSpace[PolicyInForce], queue=Queue.MEMORIES):
    """Set fields of a user's policy; None leaves a field as it is.

    Fields set stand above the preset, also above one chosen later. ``reset`` first takes back
    the preset and all fields that were set. The next store or ``Compact`` keeps to the policy.

    With a ``kind``, ``max_memories`` and ``max_age_days`` are set for memories of that kind, above
    all else, and ``reset`` takes back what was set for it; no other field can be set for a kind.
    """

    kind: Name | None = None
    preset: Name | None = None
    max_memories: int | None = None
    max_age_days: int | None = None
    similarity_threshold: float | None = None
    low_access_threshold: float | None = None
    dedup_guard: bool | None = None
    eviction: Name | None = None
    scoring: Name | None = None
    compaction: Name | None = None
    reset: bool = False


class GetPolicy(InSpace[PolicyInForce], queue=Queue.READS):
    """Read the policy that a user's memories are kept to."""
