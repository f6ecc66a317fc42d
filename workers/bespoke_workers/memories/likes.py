"""Finds the duplicates of many newcomers: among what is there, and among each other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row

from bespoke_workers.database.direct import Connection
from bespoke_workers.memories import statements
from bespoke_workers.memories.index import ROUNDING, STORED, Hit, UserIndex
from bespoke_workers.memories.loading import Loaded
from bespoke_workers.memories.newcomers import Newcomer
from bespoke_workers.memories.verdicts import Likes

Vectors = NDArray[np.float32]


def similar(
    index: UserIndex, newcomers: Sequence[Newcomer], vectors: Vectors, threshold: float
) -> dict[UUID, list[Hit]]:
    """Return, for each newcomer that has any, the memories at or above the threshold."""
    found = {}
    among = _among_each_other(newcomers, vectors, threshold)
    there = index.similar_to_each(vectors, threshold)
    for one, present in zip(newcomers, there, strict=True):
        hits = present + among.get(one.candidate.id, [])
        if hits:
            found[one.candidate.id] = sorted(hits, key=lambda hit: (hit[1], hit[0]), reverse=True)
    return found


def _among_each_other(
    newcomers: Sequence[Newcomer], vectors: Vectors, threshold: float
) -> dict[UUID, list[Hit]]:
    """Return, for each newcomer that has any, the others that are similar to it.

    One product of all with all tells which can be; an index has the last word, so that the
    verdict on a pair is the same here and once both are stored.
    """
    rounded = vectors.astype(STORED).astype(np.float32)
    near = (rounded @ rounded.T >= threshold - ROUNDING).sum(axis=1) > 1
    places = np.flatnonzero(near).tolist()
    ids = [newcomers[place].candidate.id for place in places]
    index = UserIndex(ids, vectors[places], vectors.shape[1])
    return {
        own: [hit for hit in index.similar(vectors[place], threshold) if hit[0] != own]
        for own, place in zip(ids, places, strict=True)
    }


async def read_candidates(
    connection: Connection, user_id: str, ids: Iterable[UUID]
) -> dict[UUID, Row[Any]]:
    """Read those of a user's memories, in one statement, that decide on duplicates."""
    wanted = list(ids)
    if not wanted:
        return {}
    parameters = {"user_id": user_id, "ids": wanted}
    found = (await connection.execute(statements.READ_CANDIDATES, parameters)).all()
    return {row.id: row for row in found}


def agreeing(
    loaded: Loaded,
    newcomers: Sequence[Newcomer],
    found: Mapping[UUID, Sequence[Hit]],
    rows: Mapping[UUID, Any],
) -> Likes:
    """Return of the similar memories those that count as duplicates: whose facts agree too.

    ``rows`` are those of the similar memories that are there, each with its facts.
    """
    facts = {one.candidate.id: one.facts for one in newcomers}
    guarded = loaded.space.policy.dedup_guard
    known = {**{memory_id: row.facts for memory_id, row in rows.items()}, **facts}
    return {
        new_id: [
            hit
            for hit in hits
            if hit[0] in known and (not guarded or known[hit[0]] == facts[new_id])
        ]
        for new_id, hits in found.items()
    }
