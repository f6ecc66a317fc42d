"""Indexes are caches: losing, damaging or ageing them at any moment changes no answer."""

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID, uuid4

import numpy as np
import pytest

from bespoke_schemas.memories import Compaction, List, Search, Store
from bespoke_workers.memories import index, loading, plan
from bespoke_workers.memories.index import UserIndex
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
from tests.integration.memory_workers import (
    ANGLES,
    CACHE_BYTES,
    Clock,
    angles,
    assert_sound,
    in_loop,
    query,
    remember,
    worker,
)


def lose(memories: Memories) -> None:
    """Empty the cache, as a restart does."""
    memories.indexes.clear()


def replace_by_junk(memories: Memories) -> None:
    """Put an index of some other state in the place of the right one."""
    junk = np.eye(3, ANGLES.dim, dtype=np.float32)
    memories.indexes.put("ada", UserIndex([uuid4() for _ in range(3)], junk, ANGLES.dim, 2))


def thin_out(memories: Memories) -> None:
    """Take a vector out of the cached index."""
    held = memories.indexes.get("ada")
    if held is not None:
        held.remove(held.ids[:1])


def age(memories: Memories) -> None:
    """Say that the cached index is of an earlier version than it is."""
    held = memories.indexes.get("ada")
    if held is not None:
        held.version -= 1


def replace_by_wrong_vectors(memories: Memories) -> None:
    """Put an index of the same memories, size and version there, whose vectors are mixed up."""
    held = memories.indexes.get("ada")
    if held is not None:
        vectors = np.roll(held._rows(), 1, axis=0)
        memories.indexes.put("ada", UserIndex(held.ids, vectors, ANGLES.dim, held.version))


def take_back_an_older_one(memories: Memories) -> None:
    """Put a copy of an earlier state in the place of the present one, and keep one of that."""
    held, older = memories.indexes.get("ada"), memories.indexes.get("older")
    if held is not None:
        copy = UserIndex(held.ids, held._rows(), ANGLES.dim, held.version)
        memories.indexes.put("older", copy)
    if older is not None:
        memories.indexes.put("ada", older)


def shrink_or_widen(memories: Memories) -> None:
    """Leave the cache no room, or give it back."""
    memories.indexes.max_bytes = 0 if memories.indexes.max_bytes else CACHE_BYTES


HARM: tuple[Callable[[Memories], None], ...] = (
    lose,
    replace_by_junk,
    replace_by_wrong_vectors,
    take_back_an_older_one,
    shrink_or_widen,
    thin_out,
    age,
)


@pytest.mark.parametrize("harm", HARM)
@in_loop
async def test_a_harmed_index_finds_the_same(
    database_url: str, harm: Callable[[Memories], None]
) -> None:
    policy = Policy(dedup_guard=False)
    async with worker(database_url, policy, ANGLES) as memories:
        first, *_ = [await remember(memories, "ada", f"{topic} 0") for topic in "abcd"]
        harm(memories)
        merged = await remember(memories, "ada", "a 5")
        assert merged.merged_with == first.memory_id
        harm(memories)
        found = await memories.search(Search(user_id="ada", query="a 0", limit=2))
        assert found.matches[0].memory.id == merged.memory_id
        assert found.matches[0].similarity == pytest.approx(np.cos(np.radians(5)), abs=1e-3)
        harm(memories)
        stored = await remember(memories, "ada", "e 0")
        assert (stored.outcome, stored.count) == ("inserted", 5)
        await assert_sound(database_url, "ada", policy, ANGLES)


@in_loop
async def test_an_index_is_loaded_anew_below_the_version_that_the_list_reaches(
    database_url: str,
) -> None:
    async with worker(database_url) as memories, worker(database_url) as elsewhere:
        first = await remember(memories, "ada", "Prefers dark mode")
        await remember(elsewhere, "ada", "prefers dark mode")
        await query(database_url, "DELETE FROM memory_archive")
        await query(database_url, "UPDATE memory_space SET reload_below = version")
        found = await memories.search(Search(user_id="ada", query="dark mode"))
        assert [match.memory.id == first.memory_id for match in found.matches] == [False]


@in_loop
async def test_an_index_is_loaded_in_pages(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PAGE", 3)
    async with worker(database_url, Policy(dedup_guard=False), ANGLES) as memories:
        for topic in "abcdefgh":
            await remember(memories, "ada", f"{topic} 0")
        memories.indexes.clear()
        found = await memories.search(Search(user_id="ada", query="h 0", threshold=-1))
        assert len(found.matches) == 8
        assert found.matches[0].memory.content == "h 0"


@dataclass(frozen=True)
class Known:
    """A memory of the model."""

    row: plan.Row
    content: str
    tags: frozenset[str]

    @property
    def rank(self) -> tuple[int, object, UUID]:
        """Of two duplicates, the greater stays."""
        return self.row.access_count, self.row.age_from, self.row.id


@dataclass
class Model:
    """What a user's memories should be, kept in the plainest way."""

    policy: Policy
    known: dict[UUID, Known] = field(default_factory=dict)
    archived: set[UUID] = field(default_factory=set)
    pause: int = 0

    def store(self, payload: Store, clock: Clock) -> tuple[UUID, int, Compaction]:
        """Store, merge and compact; return what is kept, how many there are, and the report."""
        now = clock.now
        new = Known(plan.Row(payload.id, now), payload.content, frozenset(payload.tags))
        alike = [one for one in self.known.values() if self.similar(one, payload.content) >= 0.95]
        young = [
            one
            for one in alike
            if now - one.row.age_from <= timedelta(days=self.policy.max_age_days)
        ]
        kept = max([new, *young], key=lambda one: (one.rank[0], one is new, *one.rank[1:]))
        gone = alike if kept is new else [new]
        self.known[kept.row.id] = self.taking_over(kept, gone)
        self.archive(one.row.id for one in gone)
        self.pause = max(self.pause - (not gone), 0)
        planned = plan.plan(
            [one.row for one in self.known.values()],
            self.policy,
            now,
            just_stored={kept.row.id},
            pause=self.pause,
        )
        self.pause = planned.pause
        self.archive(planned.removed)
        report = Compaction.model_validate(planned.report.as_dict())
        return kept.row.id, len(self.known), report

    def search(self, content: str, limit: int, clock: Clock) -> list[UUID]:
        """Return the most similar, and count their accesses."""
        ranked = sorted(
            self.known.values(),
            key=lambda one: (round(self.similar(one, content), 6), one.row.id),
            reverse=True,
        )[:limit]
        for one in ranked:
            row = replace(
                one.row, access_count=one.row.access_count + 1, last_accessed_at=clock.now
            )
            self.known[row.id] = replace(one, row=row)
        return [one.row.id for one in ranked]

    def archive(self, ids: object) -> None:
        """Move memories away."""
        for memory_id in ids:  # type: ignore[attr-defined]  # any iterable of ids
            self.known.pop(memory_id, None)
            self.archived.add(memory_id)

    @staticmethod
    def similar(one: Known, content: str) -> float:
        """Return the cosine, as float16 gives it."""
        a, b = angles([one.content, content]).astype(np.float16).astype(np.float32)
        return 1.0 if np.array_equal(a, b) else float(a @ b)

    @staticmethod
    def taking_over(kept: Known, gone: list[Known]) -> Known:
        """Sum up accesses, unite tags and be as young as the youngest."""
        together = [kept, *gone]
        accessed = [one.row.last_accessed_at for one in together if one.row.last_accessed_at]
        row = replace(
            kept.row,
            access_count=sum(one.row.access_count for one in together),
            last_accessed_at=max(accessed, default=None),
            renewed_at=max(one.row.age_from for one in together),
        )
        return replace(kept, row=row, tags=frozenset().union(*(one.tags for one in together)))


@pytest.mark.parametrize("seed", range(4))
@in_loop
async def test_any_course_of_events_agrees_with_a_plain_model(
    database_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "SKETCH_ABOVE", (8, 20_000)[seed % 2])
    drawn = random.Random(seed)  # chooses a course, guards nothing
    policy = Policy(max_memories=drawn.choice([12, 65, 80]), max_age_days=20, dedup_guard=False)
    model, clock = Model(policy), Clock()
    texts = [f"{topic} {angle}" for topic in "abcdefghijklmnop" for angle in range(0, 360, 30)]
    texts += [f"{topic} {angle}" for topic in "abcd" for angle in range(14, 360, 30)]
    async with AsyncExitStack() as stack:
        several = [
            await stack.enter_async_context(worker(database_url, policy, ANGLES, clock))
            for _ in range(3)
        ]
        for _ in range(350):
            memories = drawn.choice(several)
            action = drawn.choices(["store", "search", "harm", "wait"], [80, 8, 8, 2])[0]
            if action == "store":
                payload = Store(
                    user_id="ada", content=drawn.choice(texts), tags=(drawn.choice("xyz"),)
                )
                stored = await memories.store(payload)
                assert (stored.memory_id, stored.count, stored.compaction) == model.store(
                    payload, clock
                )
            elif action == "search":
                sought, limit = drawn.choice(texts), drawn.randrange(1, 30)
                found = await memories.search(
                    Search(user_id="ada", query=sought, limit=limit, threshold=-1)
                )
                ids = [match.memory.id for match in found.matches]
                assert ids == model.search(sought, limit, clock)
            elif action == "harm":
                drawn.choice(HARM)(memories)
            else:
                clock.now += timedelta(days=drawn.randrange(1, 8))
        listed = await several[0].list(List(user_id="ada", limit=1000))
    assert {
        (one.id, one.content, one.access_count, one.last_accessed_at, frozenset(one.tags))
        for one in listed.memories
    } == {
        (one.row.id, one.content, one.row.access_count, one.row.last_accessed_at, one.tags)
        for one in model.known.values()
    }
    archived = await query(database_url, "SELECT memory_id FROM memory_archive")
    assert {row.memory_id for row in archived} == model.archived
    await assert_sound(database_url, "ada", policy, ANGLES)
