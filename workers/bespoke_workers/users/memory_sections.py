"""The sections of a user's memories: policy, memories, archive, reports of compactions.

Embeddings stay out of bundles: they are made anew by the embedder that is set where a bundle is
imported. The archive has none.
"""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from bespoke_schemas.fields import Metadata, Moment, Name
from bespoke_schemas.memories import Compaction, Record
from bespoke_workers.database.tables import CompactionRun, Memory, MemoryArchive, MemorySpace
from bespoke_workers.memories import guard
from bespoke_workers.memories.records import second_id
from bespoke_workers.users.bundle_format import Line
from bespoke_workers.users.sections import Arrival, Section

REASONS = "duplicate|deduplication|size|age|relevance|deleted|cleared|updated"


class OwnPolicy(Line):
    """What a user has of their own: a preset, and fields set above it."""

    preset: Name | None
    policy: Metadata


class Memorised(Record):
    """One memory, as records have it; its id is always there."""

    id: UUID
    created_at: Moment


class Removed(Line):
    """One memory in the archive, with why it is there."""

    id: UUID
    memory: Memorised
    reason: Annotated[str, Field(pattern=f"^({REASONS})$")]
    run_id: UUID
    kept_id: UUID | None
    similarity: float | None
    removed_at: Moment


class Report(Line):
    """What one compaction removed."""

    id: UUID
    report: Compaction
    at: Moment


def _policy(user_id: str) -> Any:
    space = MemorySpace
    has_own = col(space.preset).is_not(None) | (col(space.policy) != {})
    return select(space).where(space.user_id == user_id, has_own)


def _memories(user_id: str) -> Any:
    return select(Memory).where(Memory.user_id == user_id).order_by(
        col(Memory.created_at), col(Memory.id)
    )  # fmt: skip


def _memorised(row: Memory | MemoryArchive, memory_id: UUID) -> Memorised:
    return Memorised.model_construct(
        id=memory_id,
        content=row.content,
        kind=row.kind,
        tags=tuple(row.tags),
        created_at=row.created_at,
        updated_at=row.updated_at,
        access_count=row.access_count,
        last_accessed_at=row.last_accessed_at,
        metadata=row.meta,
        renewed_at=row.renewed_at,
    )


def _archive(user_id: str) -> Any:
    row = MemoryArchive
    return select(row).where(row.user_id == user_id).order_by(col(row.removed_at), col(row.id))


def _removed(row: MemoryArchive) -> Removed:
    return Removed.model_construct(
        id=row.id,
        memory=_memorised(row, row.memory_id),
        reason=row.reason,
        run_id=row.run_id,
        kept_id=row.kept_id,
        similarity=row.similarity,
        removed_at=row.removed_at,
    )


async def bring_in_archive(arrival: Arrival, entries: Sequence[Removed]) -> None:
    """Write what had left the user's memories, as it was."""
    arrival.session.add_all(
        MemoryArchive(
            id=second_id(one.id, arrival.user_id),
            memory_id=arrival.own(one.memory.id),
            user_id=arrival.user_id,
            reason=one.reason,
            run_id=arrival.own(one.run_id),
            kept_id=arrival.maybe_own(one.kept_id),
            similarity=one.similarity,
            removed_version=0,
            removed_at=min(one.removed_at, arrival.now),
            **_archived(one.memory),
        )
        for one in entries
        if arrival.is_new("archive", one.id)
    )
    await arrival.session.flush()
    arrival.session.expunge_all()


def _archived(memory: Memorised) -> dict[str, Any]:
    """Return the columns of a memory that the archive has."""
    return {
        "content": memory.content,
        "kind": memory.kind,
        "tags": list(memory.tags),
        "meta": memory.metadata,
        "facts": guard.facts(memory.content),
        "access_count": memory.access_count,
        "last_accessed_at": memory.last_accessed_at,
        "created_at": memory.created_at,
        "updated_at": memory.updated_at or memory.created_at,
        "renewed_at": memory.renewed_at,
    }


def _reports(user_id: str) -> Any:
    row = CompactionRun
    return select(row).where(row.user_id == user_id).order_by(col(row.at), col(row.id))


def _report(row: CompactionRun) -> Report:
    report = Compaction.model_validate(row.report)
    return Report.model_construct(id=row.id, report=report, at=row.at)


async def bring_in_reports(arrival: Arrival, entries: Sequence[Report]) -> None:
    """Write what compactions had reported; the files that they name are of another place."""
    for one in entries:
        report = one.report.model_copy(update={"exported_to": None})
        written = insert(CompactionRun).values(
            id=arrival.own(one.id),
            user_id=arrival.user_id,
            report=report.model_dump(mode="json"),
            at=min(one.at, arrival.now),
        )
        await arrival.session.exec(written.on_conflict_do_nothing())


POLICY = Section(
    "policy",
    OwnPolicy,
    _policy,
    lambda row: OwnPolicy.model_construct(preset=row.preset, policy=row.policy),
)
MEMORIES = Section("memories", Memorised, _memories, lambda row: _memorised(row, row.id))
SECTIONS = (
    POLICY,
    MEMORIES,
    Section("archive", Removed, _archive, _removed, bring_in_archive),
    Section("compactions", Report, _reports, _report, bring_in_reports),
)
