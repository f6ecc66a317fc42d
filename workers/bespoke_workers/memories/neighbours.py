"""What each memory's nearest others are, looked up in the user's index."""

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bespoke_workers.database.direct import Connection
from bespoke_workers.memories import looks, plan
from bespoke_workers.memories.eviction import Neighbours, candidates
from bespoke_workers.memories.index import (
    STORED,
    Hit,
    UserIndex,
    cosines_with,
    rows_from_bytes,
)
from bespoke_workers.memories.policy import Policy

NEAREST = 8
"""How many are kept of each: of a larger cluster, about one in eight stays as unlike the rest."""
LOOKED_UP_WHOLE = 2_000
"""Up to so many memories, each one is looked up."""
MOST_LOOKUPS = 10_000
"""Of more memories half are, those touched longest ago, and no more than these.

A lookup goes through the whole index, while nobody can store for this user.
"""


async def neighbours(
    connection: Connection,
    user_id: str,
    index: UserIndex,
    rows: Sequence[plan.Row],
    policy: Policy,
    *,
    just_stored: Collection[UUID] = (),
    force: bool = False,
    unindexed: Mapping[UUID, ArrayLike] | None = None,
) -> Neighbours | None:
    """Look up what size compaction chooses among; None if it does not ask who is like whom.

    ``unindexed`` are vectors of shape (dim,) of memories that are not in the index yet.
    """
    if policy.eviction == "oldest":
        return None
    sought = looked_up(candidates(rows, policy, just_stored=just_stored, force=force))
    if not sought:
        return None
    parameters = {"user_id": user_id, "ids": sought}
    row = (await connection.execute(looks.READ_EMBEDDINGS, parameters)).one()
    vectors = rows_from_bytes(row.embeddings or b"", index.dim)
    return nearest(dict(zip(row.ids or (), vectors, strict=True)), index, unindexed or {})


def looked_up(oldest_first: Sequence[UUID]) -> list[UUID]:
    """Return of those that may go the ones to look up."""
    half = min(len(oldest_first) // 2, MOST_LOOKUPS)
    return list(oldest_first[: max(half, LOOKED_UP_WHOLE)])


def nearest(
    vectors: Mapping[UUID, NDArray[np.float16]],
    index: UserIndex,
    unindexed: Mapping[UUID, ArrayLike],
) -> Neighbours:
    """Return the nearest others of each memory, best first; of equal ones the newest first.

    They are the same whether or not some of the others are in the index yet.
    """
    ids = sorted(unindexed, reverse=True)
    given = np.array([unindexed[one] for one in ids], dtype=np.float32).reshape(-1, index.dim)
    rows = given.astype(STORED)  # as they will be compared with once they are in the index
    return {
        one: sorted(
            (
                *index.nearest(vector, NEAREST, _other_than(one)),
                *_hits(one, vector, ids, rows),
            ),
            key=lambda hit: (hit[1], hit[0]),
            reverse=True,
        )[:NEAREST]
        for one, vector in vectors.items()
    }


def _other_than(one: UUID) -> Callable[[UUID], bool]:
    return lambda memory_id: memory_id != one


def _hits(
    one: UUID, vector: NDArray[np.float16], ids: Sequence[UUID], rows: NDArray[np.float16]
) -> list[Hit]:
    """Return the nearest of others whose vectors are given."""
    cosines = cosines_with(vector, rows)
    best = np.argsort(-cosines, kind="stable")[: NEAREST + 1].tolist()
    return [(ids[place], float(cosines[place])) for place in best if ids[place] != one]
