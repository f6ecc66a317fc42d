"""Newcomers written into a space that is locked: inserted, merged, and what goes archived."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bespoke_workers.database.direct import Connection
from bespoke_workers.memories import newcomers as coming
from bespoke_workers.memories import statements
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.duplicates import Candidate
from bespoke_workers.memories.likes import agreeing, read_candidates, similar
from bespoke_workers.memories.loading import Loaded
from bespoke_workers.memories.merging import candidate_of
from bespoke_workers.memories.newcomers import Newcomer
from bespoke_workers.memories.verdicts import Verdicts, decide


@dataclass(frozen=True)
class Arrivals:
    """Newcomers, their embeddings of shape (n, dim), and the moment of their arrival."""

    newcomers: Sequence[Newcomer]
    vectors: NDArray[np.float32]
    at: datetime

    def by_id(self, gone: Collection[UUID]) -> dict[UUID, ArrayLike]:
        """Return the embeddings of those that have not gone."""
        return {
            one.candidate.id: vector
            for one, vector in zip(self.newcomers, self.vectors, strict=True)
            if one.candidate.id not in gone
        }

    def only(self, chosen: Sequence[bool]) -> "Arrivals":
        """Return those that are chosen."""
        some = [one for one, is_chosen in zip(self.newcomers, chosen, strict=True) if is_chosen]
        return replace(self, newcomers=some, vectors=self.vectors[np.array(chosen, dtype=bool)])

    def renamed(self, chosen: Sequence[bool], rename: Callable[[UUID], UUID]) -> "Arrivals":
        """Return all of them, those that are chosen under new ids."""
        return replace(
            self,
            newcomers=[
                one.under(rename(one.candidate.id)) if is_chosen else one
                for one, is_chosen in zip(self.newcomers, chosen, strict=True)
            ],
        )


async def weigh(
    connection: Connection, loaded: Loaded, archive: Archive, threshold: float, new: Arrivals
) -> Verdicts:
    """Decide what becomes of newcomers, whose space this transaction has locked."""
    near = similar(loaded.index, new.newcomers, new.vectors, threshold)
    own = {one.candidate.id for one in new.newcomers}
    sought = {memory_id for hits in near.values() for memory_id, _ in hits} - own
    rows = await read_candidates(connection, archive.user_id, sought)
    return decide(
        [one.candidate for one in new.newcomers],
        {memory_id: candidate_of(row) for memory_id, row in rows.items()},
        agreeing(loaded, new.newcomers, near, rows),
        loaded.space.age_cutoff(new.at),
    )


async def insert(connection: Connection, user_id: str, version: int, new: Arrivals) -> set[UUID]:
    """Insert newcomers and return the ids of those whose ids were free."""
    parameters = {
        **coming.columns(new.newcomers, new.vectors),
        "user_id": user_id,
        "version": version,
    }
    inserted = (await connection.execute(coming.INSERT_MEMORIES, parameters)).all()
    return {row.id for row in inserted}


async def settle(
    connection: Connection, archive: Archive, verdicts: Verdicts, now: datetime
) -> None:
    """Archive what is merged away; what is kept takes over accesses and tags."""
    if not verdicts.replaced:
        return
    gone = list(verdicts.replaced)
    await archive.take(
        gone,
        "duplicate",
        kept_id=verdicts.kept_ids,
        similarities=[verdicts.cosines[memory_id] for memory_id in gone],
    )
    merged = [_columns(kept) for kept in verdicts.changed.values()]
    parameters = {"user_id": archive.user_id, "merged": json.dumps(merged), "now": now}
    await connection.execute(statements.MERGE_MANY, parameters)


def _columns(kept: Candidate) -> dict[str, object]:
    accessed = kept.last_accessed_at
    return {
        "id": str(kept.id),
        "access_count": kept.access_count,
        "last_accessed_at": None if accessed is None else accessed.isoformat(),
        "age_from": kept.age_from.isoformat(),
        "tags": list(kept.tags),
    }
