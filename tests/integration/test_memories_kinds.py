"""Rules of single kinds, held by watermarks in every store."""

from collections import Counter
from datetime import timedelta

from bespoke_schemas.memories import Delete, Restore, Search, SetPolicy, Store, Stored, Update
from bespoke_workers.memories.kinds import KindPolicy
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.store import Memories
from tests.integration.memory_workers import Clock, assert_sound, in_loop, query, worker
from tests.integration.test_memories_compaction import word

CAPPED = Policy(kinds={"chat": KindPolicy(max_memories=5)})
AGED = Policy(
    max_age_days=30,
    kinds={"chat": KindPolicy(max_age_days=7), "wish": KindPolicy(max_age_days=365)},
)


async def say(memories: Memories, kind: str, number: int) -> Stored:
    """Store a text that is like no other, as one of a kind."""
    return await memories.store(Store(user_id="ada", content=word(number), kind=kind))


async def kinds(url: str) -> Counter[str]:
    """Count what is remembered, by kind."""
    return Counter(row.kind for row in await query(url, "SELECT kind FROM memory"))


async def looked_at(url: str) -> int:
    """Return the version at which a compaction last looked at the rows."""
    (space,) = await query(url, "SELECT compacted_version FROM memory_space")
    return int(space.compacted_version)


@in_loop
async def test_no_store_leaves_more_of_a_kind_than_its_cap(database_url: str) -> None:
    async with worker(database_url, CAPPED) as memories:
        for number in range(20):
            stored = await say(memories, "chat" if number % 2 else "fact", number)
            assert (await kinds(database_url))["chat"] <= 5
            if number == 11:  # the sixth
                report = stored.compaction.size_compaction
                assert report is not None
                assert (report.removed_count, report.trigger) == (2, "kind_limit_exceeded")
                assert (report.before_count, report.after_count) == (12, 10)
        assert await kinds(database_url) == {"fact": 10, "chat": 4}
        await assert_sound(database_url, "ada", CAPPED)


@in_loop
async def test_a_kind_at_its_cap_costs_stores_of_other_kinds_no_look(database_url: str) -> None:
    async with worker(database_url, CAPPED) as memories, worker(database_url, CAPPED) as other:
        for number in range(5):
            await say(memories, "chat", number)
        for number in range(5, 15):
            await say(other if number % 2 else memories, "fact", number)
        assert await looked_at(database_url) == 0
        await say(other, "chat", 15)
        assert await looked_at(database_url) == 16
    assert await kinds(database_url) == {"fact": 10, "chat": 4}


@in_loop
async def test_each_kind_has_its_own_age(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, AGED, clock=clock) as memories:
        for number, kind in enumerate(("chat", "fact", "wish")):
            await say(memories, kind, number)
        first = clock.now - timedelta(seconds=2)
        clock.now = first + timedelta(days=7, seconds=-1)
        stored = await say(memories, "fact", 3)  # at the very end of the first one's time
        assert (stored.count, await looked_at(database_url)) == (4, 0)
        stored = await say(memories, "fact", 4)
        assert stored.compaction.age_compaction is not None
        assert stored.compaction.age_compaction.removed_count == 1
        assert await kinds(database_url) == {"fact": 3, "wish": 1}
        clock.now = first + timedelta(days=300)
        await say(memories, "fact", 5)
        at = await looked_at(database_url)
        await say(memories, "fact", 6)  # a wish older than other kinds may be sets nothing off
        assert await kinds(database_url) == {"fact": 2, "wish": 1}
        assert await looked_at(database_url) == at
        clock.now = first + timedelta(days=366)
        await say(memories, "fact", 7)
    assert await kinds(database_url) == {"fact": 1}


@in_loop
async def test_what_changes_otherwise_is_counted_anew(database_url: str) -> None:
    async with worker(database_url, CAPPED) as memories:
        ids = [(await say(memories, "chat", number)).memory_id for number in range(5)]
        fact = (await say(memories, "fact", 5)).memory_id
        await memories.update(Update(user_id="ada", memory_id=fact, kind="chat"))
        stored = await say(memories, "fact", 6)
        assert stored.compaction.total_compacted == 2
        assert (await kinds(database_url))["chat"] == 4
        await memories.delete(Delete(user_id="ada", memory_id=ids[4]))
        for number in (7, 8):
            assert (await say(memories, "chat", number)).compaction.total_compacted == 0
        assert (await say(memories, "chat", 9)).compaction.total_compacted == 2


@in_loop
async def test_a_restore_keeps_to_the_cap_of_a_kind(database_url: str) -> None:
    async with worker(database_url, CAPPED) as memories:
        stored = [await say(memories, "chat", number) for number in range(6)]
        (run,) = await query(database_url, "SELECT id FROM compaction_run")
        assert stored[-1].compaction.total_compacted == 2
        restored = await memories.restore(Restore(user_id="ada", run_id=run.id))
        assert restored.restored_count == 1
        assert [skipped.reason for skipped in restored.skipped] == ["full"]
        assert (await say(memories, "fact", 7)).compaction.total_compacted == 0
    assert await kinds(database_url) == {"chat": 5, "fact": 1}


@in_loop
async def test_merges_are_of_whatever_kind_stays(database_url: str) -> None:
    async with worker(database_url, CAPPED) as memories:
        for number in range(5):
            await say(memories, "chat", number)
            await memories.store(Store(user_id="ada", content=word(number).upper(), kind="fact"))
        assert await kinds(database_url) == {"fact": 5}
        for number in range(5, 10):
            assert (await say(memories, "chat", number)).compaction.total_compacted == 0
        assert (await say(memories, "chat", 10)).compaction.total_compacted == 2


@in_loop
async def test_a_new_rule_is_kept_to_from_the_next_store_on(database_url: str) -> None:
    async with worker(database_url) as storing, worker(database_url) as setting:
        for number in range(10):
            await say(storing, "chat", number)
        await setting.set_policy(SetPolicy(user_id="ada", kind="chat", max_memories=5))
        assert (await say(storing, "fact", 10)).compaction.total_compacted == 6
        assert (await say(storing, "fact", 11)).compaction.total_compacted == 0
    async with worker(database_url, Policy(kinds={"fact": KindPolicy(max_memories=1)})) as changed:
        assert (await say(changed, "chat", 12)).compaction.total_compacted == 2
    assert await kinds(database_url) == {"chat": 5}


@in_loop
async def test_watermarks_of_another_default_are_not_believed(database_url: str) -> None:
    async with worker(database_url, Policy(low_access_threshold=0.1)) as before:
        for number in range(70):
            await say(before, "fact", number)
        for query_of in (range(70), range(40), range(40)):
            for number in query_of:
                await before.search(Search(user_id="ada", query=word(number), limit=1))
        assert (await say(before, "fact", 70)).compaction.total_compacted == 0
    async with worker(database_url, Policy(low_access_threshold=0.5)) as after:
        stored = await say(after, "fact", 71)
        assert stored.compaction.relevance_pruning is not None
        assert stored.compaction.relevance_pruning.removed_count == 14
