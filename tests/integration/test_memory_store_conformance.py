"""One suite over every store of memories: PostgreSQL's, and the one in memory."""

from typing import Any

import pytest

from bespoke_schemas import payload_types
from bespoke_schemas.ids import uuid7
from bespoke_schemas.memories import (
    Clear,
    Compact,
    Count,
    Delete,
    FindSimilar,
    Get,
    GetPolicy,
    List,
    ListArchived,
    ListCompactions,
    Memory,
    Restore,
    Search,
    SetPolicy,
    Stats,
    Store,
    Update,
)
from bespoke_workers.errors import Refused
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.port import MemoryStore
from bespoke_workers.observe import events
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    LEXICAL,
    in_loop,
)
from tests.integration.memory_workers import remember as stored
from tests.integration.stores import SMALL, Open, access, held, read, reasons
from tests.integration.test_memories_compaction import word


@in_loop
async def test_what_is_stored_is_read_as_it_was(opened: Open) -> None:
    async with opened() as store:
        payload = Store(
            user_id="ada",
            content="Has a cat",
            kind="pet",
            tags=("a", "b", "a"),
            metadata={"x": [1]},
        )
        one = await store.store(payload)
        assert (one.memory_id, one.outcome, one.count) == (payload.id, "inserted", 1)
        memory = await read(store, payload.id)
        assert (memory.content, memory.kind, memory.tags) == ("Has a cat", "pet", ("a", "b"))
        assert (memory.metadata, memory.access_count, memory.last_accessed_at) == (
            {"x": [1]},
            0,
            None,
        )
        assert memory.created_at == memory.updated_at
        memory.metadata["x"] = 2
        payload.metadata["x"] = 3
        assert (await read(store, payload.id)).metadata == {"x": [1]}


@in_loop
async def test_a_job_takes_effect_once_and_its_id_is_never_another_jobs(opened: Open) -> None:
    async with opened() as store:
        payload = Store(user_id="ada", content="Has a cat")
        first = await store.store(payload)
        await stored(store, "ada", "Likes tea")
        assert await store.store(payload) == first
        delete = Delete(user_id="ada", memory_id=payload.id)
        assert [(await store.delete(delete)).deleted for _ in range(2)] == [True, True]
        assert await held(store) == ["Likes tea"]
        for other in (
            Store(id=payload.id, user_id="grace", content="Has a cat"),
            Delete(id=payload.id, user_id="ada", memory_id=payload.id),
        ):
            with pytest.raises(Refused, match="belongs to another job"):
                await (store.store(other) if isinstance(other, Store) else store.delete(other))
        assert (await store.count(Count(user_id="grace"))).count == 0


@in_loop
async def test_duplicates_are_merged_and_the_more_accessed_one_is_kept(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        old = await stored(store, "ada", "a 0", "x")
        new = await stored(store, "ada", "a 5", "y")
        assert (new.outcome, new.merged_with, new.count) == ("merged", old.memory_id, 1)
        assert (await read(store, new.memory_id)).tags == ("y", "x")
        await access(store, "a 5", 2)
        third = await stored(store, "ada", "a 9", "z")
        assert (third.memory_id, third.outcome) == (new.memory_id, "merged")
        kept = await read(store, new.memory_id)
        assert (kept.content, kept.tags, kept.access_count) == ("a 5", ("y", "x", "z"), 2)
        archived = (await store.list_archived(ListArchived(user_id="ada"))).archived
        assert [(one.memory.content, one.reason) for one in archived] == [
            ("a 9", "duplicate"),
            ("a 0", "duplicate"),
        ]
        assert archived[1].kept_id == new.memory_id
        assert archived[1].similarity == new.similarity


@in_loop
async def test_the_guard_keeps_apart_what_differs_in_a_number(opened: Open) -> None:
    six, seven = "My alarm rings at 6 am each day", "My alarm rings at 7 am each day"
    async with opened(Policy(similarity_threshold=0.5)) as store:
        await stored(store, "ada", six)
        assert (await stored(store, "ada", seven)).outcome == "inserted"
        assert (await stored(store, "ada", six.upper())).outcome == "merged"
    async with opened(Policy(similarity_threshold=0.5, dedup_guard=False)) as store:
        await stored(store, "grace", six)
        assert (await stored(store, "grace", seven)).outcome == "merged"


@in_loop
async def test_a_search_heeds_every_filter_and_counts_accesses(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        for content, kind, tags in (
            ("a 0", "fact", ("x",)),
            ("a 30", "fact", ("x", "y")),
            ("a 60", "wish", ("x", "y")),
            ("b 0", "wish", ()),
        ):
            await store.store(Store(user_id="ada", content=content, kind=kind, tags=tags))

        async def found(**filters: Any) -> list[str]:
            result = await store.search(Search(user_id="ada", query="a 0", **filters))
            return [match.memory.content for match in result.matches]

        assert await found(limit=3) == ["a 0", "a 30", "a 60"]
        assert await found(threshold=0.8) == ["a 0", "a 30"]
        assert await found(tags=("y", "x")) == ["a 30", "a 60"]
        assert await found(kind="wish", limit=1) == ["a 60"]
        assert await found(text="A 3") == ["a 30"]
        assert await found(text="%") == []
        counts = {one.content: one.access_count for one in await every(store)}
        assert counts == {"a 0": 2, "a 30": 4, "a 60": 3, "b 0": 0}


async def every(store: MemoryStore) -> tuple[Memory, ...]:
    return (await store.list(List(user_id="ada"))).memories


@in_loop
async def test_looking_for_likes_leaves_no_trace(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        one = await stored(store, "ada", "a 0")
        other = await stored(store, "ada", "a 30")
        near = FindSimilar(user_id="ada", memory_id=one.memory_id, threshold=0.8)
        (match,) = (await store.find_similar(near)).matches
        assert match.memory.id == other.memory_id
        own = FindSimilar(user_id="ada", content="a 1")
        (match,) = (await store.find_similar(own)).matches
        assert (match.memory.id, match.memory.access_count) == (one.memory_id, 0)
        missing = FindSimilar(user_id="ada", memory_id=uuid7())
        assert (await store.find_similar(missing)).matches == ()


@in_loop
async def test_an_update_is_archived_embedded_and_deduplicated(opened: Open) -> None:
    async with opened(ANGLES_POLICY, ANGLES) as store:
        one = await stored(store, "ada", "a 0", "x")
        other = await stored(store, "ada", "b 0", "y")
        await access(store, "b 0")
        retold = Update(user_id="ada", memory_id=one.memory_id, content="c 0", metadata={"n": 1})
        changed = (await store.update(retold)).memory
        assert changed is not None
        assert (changed.content, changed.tags, changed.metadata) == ("c 0", ("x",), {"n": 1})
        assert changed.updated_at > changed.created_at
        assert await reasons(store) == {"a 0": "updated"}
        merging = Update(user_id="ada", memory_id=one.memory_id, content="b 3", tags=("z",))
        updated = await store.update(merging)
        assert updated.memory is not None
        assert (updated.memory.id, updated.merged_with) == (other.memory_id, other.memory_id)
        assert updated.memory.tags == ("y", "z")
        assert await store.update(merging) == updated
        missing = Update(user_id="ada", memory_id=uuid7(), content="d 0")
        assert (await store.update(missing)).memory is None


@in_loop
async def test_clearing_takes_what_is_named_and_tells_of_it(opened: Open) -> None:
    told: list[Any] = []
    end = events.subscribe("dspy.memory.cleared", told.append)
    async with opened() as store:
        for number, kind in enumerate(("a", "a", "b")):
            payload = Store(user_id="ada", content=word(number), kind=kind, tags=(str(number),))
            await store.store(payload)
        assert (await store.clear(Clear(user_id="ada", kind="a", tags=("1",)))).removed_count == 1
        assert await held(store) == [word(2), word(0)]
        assert (await store.clear(Clear(user_id="ada"))).removed_count == 2
        assert (await store.clear(Clear(user_id="ada"))).removed_count == 0
        assert set((await reasons(store)).values()) == {"cleared"}
    end()
    assert [(one["removed_count"], one["after_count"]) for one in told] == [(1, 2), (2, 0)]


@in_loop
async def test_listings_come_in_pages_newest_first(opened: Open) -> None:
    async with opened() as store:
        for number in range(5):
            await stored(store, "ada", word(number), "even" if number % 2 == 0 else "odd")
        page = await store.list(List(user_id="ada", tags=("even",), limit=1, offset=1))
        assert ([one.content for one in page.memories], page.total) == ([word(2)], 3)
        some = await store.list(List(user_id="ada", text=word(3).upper()))
        assert [one.content for one in some.memories] == [word(3)]


@in_loop
async def test_a_policy_is_set_read_and_refused_whole(opened: Open) -> None:
    async with opened(SMALL) as store:
        default = await store.get_policy(GetPolicy(user_id="ada"))
        assert (default.preset, default.max_memories) == (None, 20)
        assert default.similarity_threshold == LEXICAL.threshold
        with pytest.raises(Refused, match="policy preset"):
            await store.set_policy(SetPolicy(user_id="ada", preset="bold", max_memories=3))
        with pytest.raises(Refused, match="max_memories"):
            await store.set_policy(SetPolicy(user_id="ada", max_age_days=3, max_memories=0))
        assert await store.get_policy(GetPolicy(user_id="ada")) == default
        assert (await store.stats(Stats(user_id="ada"))).embedder is None
        payload = SetPolicy(user_id="ada", preset="aggressive", max_memories=2)
        own = await store.set_policy(payload)
        assert (own.preset, own.max_memories, own.max_age_days) == ("aggressive", 2, 30)
        reset = await store.set_policy(SetPolicy(user_id="ada", reset=True))
        assert reset == default
        assert await store.set_policy(payload) == own  # done before, not again
        assert await store.get_policy(GetPolicy(user_id="ada")) == default
        assert (await store.stats(Stats(user_id="ada"))).embedder == LEXICAL.name


@in_loop
async def test_stats_tell_what_a_space_holds(opened: Open) -> None:
    async with opened() as store:
        first = await stored(store, "ada", word(0))
        await store.store(Store(user_id="ada", content=word(1), kind="wish"))
        await access(store, word(0), 3)
        gone = await stored(store, "ada", word(2))
        await store.delete(Delete(user_id="ada", memory_id=gone.memory_id))
        stats = await store.stats(Stats(user_id="ada"))
        assert (stats.count, stats.by_kind, stats.archived_count) == (2, {"fact": 1, "wish": 1}, 1)
        assert (stats.most_accessed, stats.accesses_total) == (3, 3)
        assert stats.oldest_created_at == (await read(store, first.memory_id)).created_at
        assert (stats.embedder, stats.dim) == (LEXICAL.name, LEXICAL.dim)


@in_loop
async def test_no_payload_reads_or_changes_another_users_memories(opened: Open) -> None:
    async with opened() as store:
        one = await stored(store, "ada", "Has a cat", "pet")
        two = await stored(store, "ada", "Likes green tea")
        await store.delete(Delete(user_id="ada", memory_id=two.memory_id))
        await access(store, "cat")
        before = await everything(store)
        whose: dict[str, Any] = {"user_id": "grace"}
        mine = whose | {"memory_id": one.memory_id}
        assert (await store.search(Search(query="Has a cat", **whose))).matches == ()
        assert (await store.find_similar(FindSimilar(**mine, threshold=-1))).matches == ()
        assert (await store.get(Get(**mine))).memory is None
        assert (await store.list(List(**whose))).total == 0
        assert (await store.count(Count(**whose))).count == 0
        assert (await store.stats(Stats(**whose))).archived_count == 0
        assert (await store.update(Update(**mine, content="Has a dog"))).memory is None
        assert not (await store.delete(Delete(**mine))).deleted
        assert (await store.clear(Clear(**whose))).removed_count == 0
        assert (await store.compact(Compact(**whose, force=True))).total_compacted == 0
        assert (await store.list_archived(ListArchived(**whose))).total == 0
        restore = Restore(**whose, memory_id=two.memory_id)
        assert (await store.restore(restore)).restored_count == 0
        await store.set_policy(SetPolicy(**whose, max_memories=1))
        assert (await stored(store, "grace", "Has a cat")).outcome == "inserted"
        assert await everything(store) == before


async def everything(store: MemoryStore) -> list[Any]:
    """Return all that can be read of ada."""
    return [
        await store.list(List(user_id="ada")),
        await store.stats(Stats(user_id="ada")),
        await store.get_policy(GetPolicy(user_id="ada")),
        await store.list_archived(ListArchived(user_id="ada")),
        await store.list_compactions(ListCompactions(user_id="ada")),
    ]


def test_the_port_has_a_method_for_payloads_alone() -> None:
    served = {
        task.rpartition(".")[2] for task in payload_types() if task.startswith("bespoke.memories.")
    }
    assert {name for name in vars(MemoryStore) if not name.startswith("_")} <= served
