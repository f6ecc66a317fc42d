"""One user's memories in this process: what the tables hold of a user, and how rows leave it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bespoke_schemas.memories import Compaction, CompactionRun, Memory
from bespoke_workers.memories.archive import UPDATED
from bespoke_workers.memories.duplicates import Candidate
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.in_memory.rows import Gone, Row
from bespoke_workers.memories.index import Hit, UserIndex, from_bytes
from bespoke_workers.memories.kinds import KindMarks
from bespoke_workers.memories.loading import Loaded
from bespoke_workers.memories.plan import Plan
from bespoke_workers.memories.policies import NOTHING, Own
from bespoke_workers.memories.policy import Policy, resolve
from bespoke_workers.memories.space import NEVER, Space


class UserSpace:
    """A user's rows, index, archive and compactions, and the counters over them."""

    def __init__(self, embedder: Embedder, default: Policy) -> None:
        self.own: Own = NOTHING
        self.rows: dict[UUID, Row] = {}
        self.archive: list[Gone] = []
        self.runs: list[CompactionRun] = []
        self.index = UserIndex([], np.empty((0, embedder.dim)), embedder.dim)
        self.embedder_threshold = embedder.threshold
        self._default = default
        self.counters = Space(
            version=0,
            reload_below=0,
            count=0,
            oldest_created_at=None,
            most_accessed=0,
            stored_total=0,
            relevance_check_at=NEVER,
            relevance_pause_until=0,
            embedder=embedder.name,
            dim=embedder.dim,
            policy=default,
        )

    @property
    def loaded(self) -> Loaded:
        """The counters and the index, as the rules that compare vectors take them."""
        return Loaded(self.counters, self.index)

    @property
    def threshold(self) -> float:
        """The cosine from which two memories count as similar enough to be one."""
        return self.counters.policy.threshold(self.embedder_threshold)

    def policy_with(self, preset: str | None) -> Policy:
        """Return the policy under a preset in place of the user's own; None leaves that."""
        return resolve(preset or self.own[0], self.own[1], default=self._default)

    def follow(self, own: Own) -> None:
        """Keep to another policy; what is low has to be judged anew."""
        self.own = own
        policy = resolve(*own, default=self._default)
        self.counters = replace(self.counters.next_version(), policy=policy, relevance_check_at=0)

    def put(self, row: Row) -> None:
        """Hold a row, in place of the one that this memory had, if any."""
        self.rows[row.memory.id] = row
        self.index.add(row.memory.id, from_bytes(row.embedding, self.counters.dim))

    def vector(self, memory_id: UUID) -> NDArray[np.float16]:
        """Return the vector of a memory, of shape (dim,)."""
        return from_bytes(self.rows[memory_id].embedding, self.counters.dim)

    def change(self, memory_id: UUID, **fields: object) -> Memory:
        """Change fields of a memory other than its content, and return it."""
        self.rows[memory_id] = self.rows[memory_id].changed(**fields)
        return self.rows[memory_id].memory

    def renew(self, memory_id: UUID, age_from: datetime) -> None:
        """Count a memory's age from a moment, unless it counts from a later one."""
        row = self.rows[memory_id]
        renewed_at = max(row.renewed_at or age_from, age_from)
        self.rows[memory_id] = replace(row, renewed_at=renewed_at)

    def selected(
        self, tags: Iterable[str] = (), kind: str | None = None, text: str | None = None
    ) -> list[Memory]:
        """Return the memories with all of some tags, of a kind and containing a text."""
        wanted, contained = set(tags), "" if text is None else text.lower()
        return [
            row.memory
            for row in self.rows.values()
            if wanted <= set(row.memory.tags)
            and kind in (None, row.memory.kind)
            and contained in row.memory.content.lower()
        ]

    def duplicates(self, facts: str, similar: Sequence[Hit]) -> list[Candidate]:
        """Return those of the similar memories whose facts agree, most similar first."""
        guarded = self.counters.policy.dedup_guard
        rows = [self.rows[memory_id] for memory_id, _ in similar]
        return [row.candidate for row in rows if not guarded or row.facts == facts]

    def recount(self) -> None:
        """Count anew after a change other than a store; relevance is looked at when it may be."""
        standings = [row.standing for row in self.rows.values()]
        most = max((row.access_count for row in standings), default=0)
        self.counters = replace(
            self.counters,
            count=len(standings),
            oldest_created_at=min((row.age_from for row in standings), default=None),
            most_accessed=most,
            relevance_check_at=self.counters.relevance_pause_until if most else NEVER,
            kind_marks=KindMarks.of(standings, self.counters.policy),
        )


class Removal:
    """Moves memories out of one user's space into its archive, for one job."""

    def __init__(self, space: UserSpace, run_id: UUID, now: datetime) -> None:
        self._space = space
        self._run_id = run_id
        self._now = now

    def take(
        self,
        ids: Iterable[UUID],
        reason: str,
        *,
        kept: Mapping[UUID, UUID] | None = None,
        similarities: Mapping[UUID, float | None] | None = None,
    ) -> None:
        """Archive memories for a reason; for duplicates, what is kept and how alike they are."""
        gone = list(ids)
        for memory_id in gone:
            row = self._space.rows.pop(memory_id)
            self._keep(
                row, reason, (kept or {}).get(memory_id), (similarities or {}).get(memory_id)
            )
        self._space.index.remove(gone)

    def take_all(self, planned: Plan) -> None:
        """Archive what a plan removes for size, age and relevance."""
        self.take(planned.size, "size")
        self.take(planned.age, "age")
        self.take(planned.relevance, "relevance")

    def copy(self, ids: Iterable[UUID]) -> None:
        """Archive memories as they are now, before they change; they stay among the others."""
        for memory_id in ids:
            self._keep(self._space.rows[memory_id], UPDATED)

    def record(self, report: Compaction) -> None:
        """Keep the report of a compaction that removed something."""
        self._space.runs.append(CompactionRun(id=self._run_id, at=self._now, report=report))

    def merge(self, kept: Candidate) -> None:
        """Give a memory that is kept the accesses, tags and youngest age of those merged."""
        self._space.renew(kept.id, kept.age_from)
        self._space.change(
            kept.id,
            access_count=kept.access_count,
            last_accessed_at=kept.last_accessed_at,
            tags=kept.tags,
            updated_at=self._now,
        )

    def _keep(
        self, row: Row, reason: str, kept_id: UUID | None = None, similarity: float | None = None
    ) -> None:
        version = self._space.counters.version
        self._space.archive.append(
            Gone(row, reason, self._run_id, kept_id, similarity, self._now, version)
        )
