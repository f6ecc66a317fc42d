"""Which of a new memory and its duplicates is kept, and what it takes over."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bespoke_schemas.fields import TAG_LIMIT


@dataclass(frozen=True)
class Candidate:
    """A memory, or the new one, that counts as a duplicate. Times are aware.

    ``age_from`` is the moment from which its age counts, as `plan.Row` has it.
    """

    id: UUID
    access_count: int
    last_accessed_at: datetime | None
    tags: tuple[str, ...]
    age_from: datetime


@dataclass(frozen=True)
class Merge:
    """One memory stays, with the accesses and tags of those that go to the archive."""

    kept: Candidate
    gone: tuple[Candidate, ...] = ()


def merge(new: Candidate, found: Sequence[Candidate], cutoff: datetime) -> Merge:
    """Return what becomes of a new memory and those that it duplicates.

    The one with more accesses is kept, on a tie the newer, on another the new one. If the new one
    stays, all that it duplicates go; else it alone goes, since those that were there before are
    no duplicates of each other. The kept one is then as young as the youngest, since all of it
    was said again. A memory whose age began before ``cutoff`` is not the one kept,
    unless all are that old.
    """
    young = [one for one in (*found, new) if one.age_from >= cutoff]
    best = max(
        young,
        key=lambda one: (one.access_count, one.age_from, one is new, one.id),
        default=new,
    )
    if best is not new:
        return Merge(taking_over(best, [new]), (new,))
    return Merge(taking_over(new, found), tuple(found))


def taking_over(kept: Candidate, gone: Sequence[Candidate]) -> Candidate:
    """Return the kept one with the accesses and tags of all."""
    together = (kept, *gone)
    accessed = (one.last_accessed_at for one in together if one.last_accessed_at is not None)
    return Candidate(
        id=kept.id,
        access_count=sum(one.access_count for one in together),
        last_accessed_at=max(accessed, default=None),
        tags=_union(one.tags for one in together),
        age_from=max(one.age_from for one in together),
    )


def _union(tags: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    together = dict.fromkeys(tag for some in tags for tag in some)
    return tuple(together)[:TAG_LIMIT]  # those over it stay in the archive
