"""What becomes of many newcomers, each held against what is there and those before it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from bespoke_workers.memories.duplicates import Candidate, Merge, merge
from bespoke_workers.memories.index import Hit

Likes = Mapping[UUID, Sequence[Hit]]
"""For each newcomer that has any: its duplicates, most similar first, with their cosines."""


@dataclass
class Verdicts:
    """What stays and what goes, as one merge after the other came to it.

    ``merges`` has one for each newcomer, in order. ``replaced`` names for each memory that goes
    the one that took its place then, ``cosines`` how similar the two were, and ``changed`` what
    stays and has taken something over.
    """

    merges: list[Merge] = field(default_factory=list)
    replaced: dict[UUID, UUID] = field(default_factory=dict)
    cosines: dict[UUID, float] = field(default_factory=dict)
    changed: dict[UUID, Candidate] = field(default_factory=dict)

    def standing(self, memory_id: UUID) -> UUID:
        """Return what stands for a memory in the end: what replaced it may be replaced too."""
        while memory_id in self.replaced:
            memory_id = self.replaced[memory_id]
        return memory_id

    @property
    def kept_ids(self) -> dict[UUID, UUID]:
        """For each memory that goes, the one that stands for it in the end."""
        return {gone: self.standing(gone) for gone in self.replaced}

    def take(self, new: Candidate, merged: Merge, hits: Iterable[Hit]) -> None:
        """Note what became of a newcomer and its duplicates."""
        self.merges.append(merged)
        if not merged.gone:
            return
        cosines = dict(hits)
        for one in merged.gone:
            self.replaced[one.id] = merged.kept.id
            # Each pair has the newcomer on one side, whichever of the two goes.
            self.cosines[one.id] = cosines[merged.kept.id if one.id == new.id else one.id]
            self.changed.pop(one.id, None)
        self.changed[merged.kept.id] = merged.kept


def decide(
    newcomers: Sequence[Candidate],
    present: Mapping[UUID, Candidate],
    likes: Likes,
    cutoff: datetime,
) -> Verdicts:
    """Return what one store after the other would come to, newcomers in their order.

    ``present`` are those of the memories there that any newcomer is like. What is left has no
    two that are duplicates by ``likes``, as long as that held of what was there.
    """
    verdicts, alive = Verdicts(), dict(present)
    for new in newcomers:
        hits = likes.get(new.id, ())
        # Later newcomers are not among those alive yet.
        found = [alive[memory_id] for memory_id, _ in hits if memory_id in alive]
        merged = merge(new, found, cutoff) if found else Merge(new)
        for one in merged.gone:
            alive.pop(one.id, None)
        alive[merged.kept.id] = merged.kept
        verdicts.take(new, merged, hits)
    return verdicts
