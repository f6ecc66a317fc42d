"""Compaction in the background: asked for through the outbox, and bounded all the same."""

from bespoke_schemas.memories import Compact, Delete, Search
from bespoke_workers.memories.deferral import ASK_AGAIN_EVERY, hard_cap
from bespoke_workers.memories.policy import Policy
from tests.integration.memory_workers import assert_accounted_for, contents, in_loop, query, worker
from tests.integration.optimizing import RecordingOutbox
from tests.integration.test_memories_compaction import fill, word

WAITING = Policy(max_memories=80, compaction="background")


class BrokenOutbox(RecordingOutbox):
    """A queue that is away."""

    def enqueue(self, payload: object) -> None:
        raise ConnectionError("with a password")


def asked(outbox: RecordingOutbox) -> list[Compact]:
    """Return what was asked for, all of which is compaction."""
    assert all(isinstance(payload, Compact) for payload in outbox.enqueued)
    return [payload for payload in outbox.enqueued if isinstance(payload, Compact)]


def test_a_quarter_more_is_the_most_that_waits() -> None:
    assert [hard_cap(limit) for limit in (1, 3, 4, 80, 1000)] == [1, 3, 5, 100, 1250]


@in_loop
async def test_a_store_over_the_limit_asks_for_one_compaction(database_url: str) -> None:
    outbox = RecordingOutbox()
    async with worker(database_url, WAITING, outbox=outbox) as memories:
        await fill(memories, 80)
        assert asked(outbox) == []
        (stored,) = await fill(memories, 1, start=80)
        assert (stored.count, stored.compaction.total_compacted) == (81, 0)
        (compact,) = asked(outbox)
        assert (compact.user_id, compact.force) == ("ada", False)
        await fill(memories, 14, start=81)
        assert asked(outbox) == [compact]
        await fill(memories, 1, start=95)  # the 96th: the message may be lost
        assert asked(outbox) == [compact, compact]
        assert 96 % ASK_AGAIN_EVERY == 0

        report = await memories.compact(compact)
        assert (report.total_compacted, await memories.compact(compact)) == (32, report)
        outbox.enqueued.clear()
        await fill(memories, 16, start=96)
        assert asked(outbox) == []
        await fill(memories, 1, start=112)
        (later,) = asked(outbox)
        assert later.id != compact.id
        assert (await memories.compact(later)).total_compacted == 17
    await assert_accounted_for(database_url, "ada")


@in_loop
async def test_beyond_the_hard_cap_a_store_compacts_at_once(database_url: str) -> None:
    outbox = BrokenOutbox()
    policy = Policy(max_memories=20, compaction="background")
    async with worker(database_url, policy, outbox=outbox) as memories:
        counts = [stored.count for stored in await fill(memories, 30)]
        assert counts[24:27] == [25, 16, 17]
        assert max(counts) == 25
        assert word(25) in await contents(database_url, "ada")
    await assert_accounted_for(database_url, "ada")


@in_loop
async def test_what_a_search_made_due_is_asked_for_and_looked_at_once(database_url: str) -> None:
    outbox = RecordingOutbox()
    async with (
        worker(database_url, WAITING, outbox=outbox) as storing,
        worker(database_url, WAITING) as reading,
    ):
        await fill(storing, 40)
        await reading.search(Search(user_id="ada", query=word(3), limit=1))
        (stored,) = await fill(storing, 1, start=40)
        assert stored.count == 41
        (compact,) = asked(outbox)
        assert (await reading.compact(compact)).total_compacted == 0  # 41 are too few to judge
        await fill(storing, 5, start=41)
        assert asked(outbox) == [compact]
        (space,) = await query(database_url, "SELECT * FROM memory_space")
        assert (space.count, space.relevance_check_at) == (46, 50)


@in_loop
async def test_a_compaction_that_came_too_late_to_be_due_is_asked_for_anew(
    database_url: str,
) -> None:
    outbox = RecordingOutbox()
    async with worker(database_url, WAITING, outbox=outbox) as memories:
        (*_, last) = await fill(memories, 81)
        (compact,) = asked(outbox)
        await memories.delete(Delete(user_id="ada", memory_id=last.memory_id))
        assert (await memories.compact(compact)).total_compacted == 0
        outbox.enqueued.clear()
        await fill(memories, 1, start=81)
        (anew,) = asked(outbox)
        assert (await memories.compact(anew)).total_compacted == 17


@in_loop
async def test_without_an_outbox_nothing_waits(database_url: str) -> None:
    async with worker(database_url, Policy(max_memories=20, compaction="background")) as memories:
        assert max(stored.count for stored in await fill(memories, 22)) == 20
