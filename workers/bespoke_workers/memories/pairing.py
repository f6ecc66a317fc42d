"""Finds the duplicates among memories that are there, through the user's index."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bespoke_workers.memories import plan
from bespoke_workers.memories.index import UserIndex


@dataclass(frozen=True)
class Pairing:
    """Names pairs at or above a threshold whose facts agree, as `plan.Pairs` asks for them.

    ``probes`` are the vectors that are looked up, ``facts`` what must agree; None lets all agree.
    ``cosines`` holds, after use, how similar the pairs were.
    """

    index: UserIndex
    threshold: float
    probes: Mapping[UUID, NDArray[np.float16]]
    facts: Mapping[UUID, str] | None
    cosines: dict[frozenset[UUID], float] = field(default_factory=dict)

    def __call__(self, rows: Sequence[plan.Row]) -> Iterator[tuple[UUID, UUID]]:
        """Yield each pair as (looked up, found).

        The strongest memory comes first and takes what is like it, so that nothing is merged
        along a chain whose ends are unlike each other, and what has gone is not looked up.
        """
        alive = {row.id: row for row in rows}
        for probe in sorted(rows, key=_strength, reverse=True):
            for other in self._like(probe.id, alive) if probe.id in self.probes else ():
                yield probe.id, other
                keep, go = plan.judged(alive[probe.id], alive[other])
                alive[keep.id] = plan.taking_over(keep, go)
                del alive[go.id]
                if go.id == probe.id:
                    break

    def _like(self, probe_id: UUID, alive: Mapping[UUID, plan.Row]) -> list[UUID]:
        """Return the duplicates of a memory that are still there, strongest first."""
        if probe_id not in alive:
            return []
        found = []
        for memory_id, cosine in self.index.similar(self.probes[probe_id], self.threshold):
            if memory_id != probe_id and memory_id in alive and self._agree(probe_id, memory_id):
                self.cosines[frozenset((probe_id, memory_id))] = cosine
                found.append(memory_id)
        return sorted(found, key=lambda one: _strength(alive[one]), reverse=True)

    def _agree(self, one: UUID, other: UUID) -> bool:
        return self.facts is None or self.facts[one] == self.facts[other]


def _strength(row: plan.Row) -> tuple[int, datetime, UUID]:
    return row.access_count, row.age_from, row.id
