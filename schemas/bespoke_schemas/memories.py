"""Payloads of the memories: what a user said, kept free of duplicates."""

from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from bespoke_schemas.fields import Content, Metadata, Moment, Name, Tags, Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class StrategyReport(Result):
    """What one compaction strategy did: counts of one user's memories."""

    removed_count: int
    before_count: int
    after_count: int
    trigger: str


class Compaction(Result):
    """What one inline compaction did; a strategy that had nothing to do is None."""

    size_compaction: StrategyReport | None = None
    age_compaction: StrategyReport | None = None
    deduplication: StrategyReport | None = None
    relevance_pruning: StrategyReport | None = None
    total_compacted: int = 0


class Stored(Result):
    """What became of a memory. ``memory_id`` is the one kept, also after a merge."""

    memory_id: UUID
    outcome: Literal["inserted", "merged"]
    merged_with: UUID | None = None
    similarity: float | None = None
    count: int
    compaction: Compaction = Compaction()


class Store(Payload[Stored], queue=Queue.MEMORIES):
    """Remember one thing that a user said; its duplicate, if there is one, is merged."""

    user_id: UserId
    content: Content
    kind: Name = "fact"
    tags: Tags = ()
    metadata: Metadata = Field(default_factory=dict)


class Memory(Result):
    """One memory as it is read. Times are UTC."""

    id: UUID
    content: str
    kind: str
    tags: tuple[str, ...]
    metadata: Metadata
    created_at: Moment
    updated_at: Moment
    access_count: int
    last_accessed_at: Moment | None


class Match(Result):
    """A memory found, with its similarity (cosine) where it was looked for by meaning."""

    memory: Memory
    similarity: float | None = None


class Found(Result):
    """Memories found, best first."""

    matches: tuple[Match, ...]


class Search(Payload[Found], queue=Queue.READS):
    """Find a user's memories by meaning, and count the access of each one found.

    Only those are looked at that carry all the ``tags``, are of the ``kind`` and contain the
    ``text``, whatever its case; each is left out of account unless given.
    """

    user_id: UserId
    query: Content
    tags: Tags = ()
    kind: Name | None = None
    text: Text | None = None
    limit: int = Field(default=10, ge=1, le=200)
    threshold: float = Field(default=0.0, ge=-1.0, le=1.0)


class Listed(Result):
    """A page of memories, newest first, and how many there are in all."""

    memories: tuple[Memory, ...]
    total: int


class List(Payload[Listed], queue=Queue.READS):
    """List a user's memories, newest first."""

    user_id: UserId
    tags: Tags = ()
    text: Text | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


class Counted(Result):
    """How many memories a user has."""

    count: int


class Count(Payload[Counted], queue=Queue.READS):
    """Count a user's memories."""

    user_id: UserId


class Got(Result):
    """A memory; None if the user has none under that id."""

    memory: Memory | None


class Get(Payload[Got], queue=Queue.READS):
    """Read one memory. This counts as no access: only a search does."""

    user_id: UserId
    memory_id: UUID


class SpaceStats(Result):
    """What a user's space holds. Without a first store there is no embedder yet."""

    count: int
    oldest_created_at: Moment | None
    newest_created_at: Moment | None
    most_accessed: int
    accesses_total: int
    by_kind: dict[str, int]
    archived_count: int
    embedder: str | None
    dim: int | None


class Stats(Payload[SpaceStats], queue=Queue.READS):
    """Tell what a user's space holds, in numbers."""

    user_id: UserId


class FindSimilar(Payload[Found], queue=Queue.READS):
    """Find what is similar to one of a user's memories, or to a text; it counts as no access.

    ``threshold`` (cosine) is the one from which the space takes two memories for duplicates,
    unless given. The memory itself is not among those found; one that is missing has no likes.
    """

    user_id: UserId
    memory_id: UUID | None = None
    content: Content | None = None
    threshold: float | None = Field(default=None, ge=-1.0, le=1.0)
    limit: int = Field(default=10, ge=1, le=200)

    @model_validator(mode="after")
    def _one_is_sought(self) -> Self:
        if (self.memory_id is None) == (self.content is None):
            raise ValueError("give either memory_id or content, and not both")
        return self


class PolicyInForce(Result):
    """What a user's memories are kept to. ``preset`` is None where none was chosen.

    ``similarity_threshold`` is a cosine; where the policy has none it is the embedder's own.
    """

    preset: str | None
    max_memories: int
    max_age_days: int
    similarity_threshold: float
    low_access_threshold: float
    dedup_guard: bool
    eviction: str


class SetPolicy(Payload[PolicyInForce], queue=Queue.MEMORIES):
    """Set fields of a user's policy; None leaves a field as it is.

    Fields set stand above the preset, also above one chosen later. ``reset`` first takes back
    the preset and all fields that were set. The next store or ``Compact`` keeps to the policy.
    """

    user_id: UserId
    preset: Name | None = None
    max_memories: int | None = None
    max_age_days: int | None = None
    similarity_threshold: float | None = None
    low_access_threshold: float | None = None
    dedup_guard: bool | None = None
    eviction: Name | None = None
    reset: bool = False


class GetPolicy(Payload[PolicyInForce], queue=Queue.READS):
    """Read the policy that a user's memories are kept to."""

    user_id: UserId


class Deleted(Result):
    """Whether there was such a memory."""

    deleted: bool


class Delete(Payload[Deleted], queue=Queue.MEMORIES):
    """Remove one memory. It goes to the archive, from which it can be restored for a while."""

    user_id: UserId
    memory_id: UUID


class Cleared(Result):
    """How many memories were removed."""

    removed_count: int


class Clear(Payload[Cleared], queue=Queue.MEMORIES):
    """Remove a user's memories: all, or those of a kind and with all of some tags.

    They go to the archive, from which they can be restored for a while.
    """

    user_id: UserId
    tags: Tags = ()
    kind: Name | None = None


class Compact(Payload[Compaction], queue=Queue.MEMORIES):
    """Compact a user's memories as far as each strategy's trigger says; ``force`` runs all four.

    Other than a store, it holds the memories against each other: those there before a change
    of threshold may be duplicates.
    """

    user_id: UserId
    force: bool = False


class CompactionRun(Result):
    """One compaction that removed something. ``id`` is that of the job that it was part of."""

    id: UUID
    at: Moment
    report: Compaction


class Compactions(Result):
    """A page of compactions, newest first, and how many there are in all."""

    runs: tuple[CompactionRun, ...]
    total: int


class ListCompactions(Payload[Compactions], queue=Queue.READS):
    """List the compactions of a user's memories, newest first."""

    user_id: UserId
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


class Archived(Result):
    """A memory in the archive, as it was, and why it is there.

    ``run_id`` is the job that removed it, ``kept_id`` the memory that stayed in its place and
    ``similarity`` the cosine of the two, where there is one.
    """

    memory: Memory
    reason: str
    run_id: UUID
    kept_id: UUID | None
    similarity: float | None
    removed_at: Moment


class ArchivedListed(Result):
    """A page of the archive, what went last first, and how many there are in all."""

    archived: tuple[Archived, ...]
    total: int


class ListArchived(Payload[ArchivedListed], queue=Queue.READS):
    """List what is in the archive of a user's memories: all, or what one job removed."""

    user_id: UserId
    run_id: UUID | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


class Skipped(Result):
    """A memory that stays in the archive, and why.

    ``duplicate``: what it duplicates is remembered. ``full``: there are ``max_memories``.
    ``present``: it is remembered itself.
    """

    memory_id: UUID
    reason: Literal["duplicate", "full", "present"]


class Restored(Result):
    """How many memories came back from the archive, and which did not."""

    restored_count: int
    skipped: tuple[Skipped, ...] = ()


class Restore(Payload[Restored], queue=Queue.MEMORIES):
    """Bring back from the archive one memory, or all that one job removed.

    A restored memory counts as accessed now, so that it is the last to go by size. One that is
    too old counts as created now, and relevance pauses for as many stores as were restored: the
    rule that removed a memory does not remove it again at once.
    """

    user_id: UserId
    run_id: UUID | None = None
    memory_id: UUID | None = None

    @model_validator(mode="after")
    def _one_is_restored(self) -> Self:
        if (self.run_id is None) == (self.memory_id is None):
            raise ValueError("give either run_id or memory_id, and not both")
        return self


class Updated(Result):
    """The memory after the change; None if the user has none under that id.

    If the new content made it a duplicate, ``memory`` is the one kept, which may be the other,
    and ``merged_with`` is the other one, the most similar if there were several.
    """

    memory: Memory | None
    merged_with: UUID | None = None


class Update(Payload[Updated], queue=Queue.MEMORIES):
    """Change what is given of a memory; what it was before goes to the archive.

    Its accesses and its time of creation stay.
    """

    user_id: UserId
    memory_id: UUID
    content: Content | None = None
    kind: Name | None = None
    tags: Tags | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _something_changes(self) -> Self:
        if all(one is None for one in (self.content, self.kind, self.tags, self.metadata)):
            raise ValueError("changes nothing; give content, kind, tags or metadata")
        return self
