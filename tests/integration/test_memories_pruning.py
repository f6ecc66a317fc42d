"""What has been in the archive for too long goes, and no index that slept shows it again."""

from datetime import timedelta

import pytest

from bespoke_schemas.memories import (
    Delete,
    List,
    ListArchived,
    ListCompactions,
    Restore,
    Search,
    Update,
)
from bespoke_workers.memories import pruning
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.pruning import Pruning
from bespoke_workers.observe import events
from tests.integration.databases import rows
from tests.integration.memory_workers import Clock, in_loop, opened, query, remember, worker
from tests.integration.test_memories_compaction import SMALL, fill, word
from tests.nodes.waiting import SECONDS

COUNT = "SELECT count(*) FROM memory_archive"


@in_loop
async def test_an_index_that_slept_through_removal_and_pruning_answers_right(
    database_url: str,
) -> None:
    clock = Clock()
    async with (
        worker(database_url, clock=clock) as memories,
        worker(database_url, clock=clock) as asleep,
        opened(database_url) as database,
    ):
        stored = await fill(memories, 3)
        search = Search(user_id="ada", query=word(0), limit=50, threshold=-1)
        assert len((await asleep.search(search)).matches) == 3
        await memories.delete(Delete(user_id="ada", memory_id=stored[0].memory_id))
        clock.now += timedelta(days=31)
        assert await Pruning(database, clock, 30, 30).prune(SECONDS)
        await memories.delete(Delete(user_id="ada", memory_id=stored[1].memory_id))
        for each in (asleep, memories):
            found = (await each.search(search)).matches
            assert [match.memory.content for match in found] == [word(2)]
        assert (await remember(asleep, "ada", word(0))).outcome == "inserted"
        await remember(memories, "eve", word(0))
        left = (await memories.list_archived(ListArchived(user_id="ada"))).archived
        assert [one.memory.id for one in left] == [stored[1].memory_id]
        gone = Restore(user_id="ada", memory_id=stored[0].memory_id)
        assert (await memories.restore(gone)).restored_count == 0


@in_loop
async def test_the_archive_is_pruned_in_pages_to_the_second(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PAGE", 2)
    clock = Clock()
    async with worker(database_url, SMALL, clock=clock) as memories, opened(database_url) as here:
        last = (await fill(memories, 21))[-1]
        removed_at = (await query(database_url, "SELECT removed_at FROM memory_archive"))[0][0]
        for seconds, pruned, runs in ((0, 0, 1), (1, 5, 0)):
            clock.now = removed_at + timedelta(days=30, seconds=seconds - 1)
            archived = await rows(here, COUNT)
            assert await Pruning(here, clock, 30, 30).prune(SECONDS)
            assert await rows(here, COUNT) == [(archived[0][0] - pruned,)]
            listed = await memories.list_compactions(ListCompactions(user_id="ada"))
            assert (listed.total, listed.removed_total) == (runs, 5 * runs)
        restored = await memories.restore(Restore(user_id="ada", run_id=last.memory_id))
        assert restored.restored_count == 0


@in_loop
async def test_an_application_learns_what_went_since_it_asked_last(database_url: str) -> None:
    told: list[events.Event] = []
    end = events.subscribe("dspy.memory.updated", told.append)
    async with worker(database_url, Policy(max_memories=3)) as memories:
        stored = (await fill(memories, 4))[-1]
        (size, *_) = (await memories.list_archived(ListArchived(user_id="ada"))).archived
        update = Update(user_id="ada", memory_id=stored.memory_id, content=word(7), kind="wish")
        await memories.update(update)
        for sought, reasons in (
            (ListArchived(user_id="ada", reason="size"), {"size"}),
            (ListArchived(user_id="ada", since=size.removed_at), {"size", "updated"}),
            (
                ListArchived(user_id="ada", since=size.removed_at + timedelta(microseconds=1)),
                {"updated"},
            ),
            (ListArchived(user_id="ada", run_id=update.id, reason="size"), set()),
        ):
            listed = await memories.list_archived(sought)
            assert {one.reason for one in listed.archived} == reasons
        wishes = await memories.list(List(user_id="ada", kind="wish"))
        assert [one.content for one in wishes.memories] == [word(7)]
        assert (await memories.list(List(user_id="ada", kind="need"))).total == 0
    end()
    assert [one["merged_count"] for one in told] == [0]
