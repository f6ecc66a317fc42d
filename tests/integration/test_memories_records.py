"""Memories taken out as records and brought in again: nothing lost, nothing twice."""

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from bespoke_schemas.jobs import Cancel, Progress
from bespoke_schemas.memories import (
    Clear,
    Count,
    Delete,
    Export,
    Import,
    Imported,
    List,
    Record,
    Search,
)
from bespoke_workers.errors import Cancelled
from bespoke_workers.memories import importing, record_source
from bespoke_workers.memories.policy import Policy
from bespoke_workers.observe import events
from bespoke_workers.optimization.cancellation import Cancellation
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    START,
    assert_distinct,
    contents,
    in_loop,
    opened,
    query,
    remember,
    worker,
)
from tests.integration.optimizing import RecordingOutbox
from tests.integration.record_files import FILE, SECRET, bring_in, filled, on, put, rows, side
from tests.integration.test_memories_compaction import word
from tests.integration.test_memories_many import assert_consistent


@in_loop
async def test_what_was_exported_is_imported_as_it_was(database_url: str, storage: Path) -> None:
    async with side(database_url, storage) as memories:
        await filled(memories)
        before = await rows(database_url)
        exported = await memories.export(Export(user_id="ada", name=FILE))
        assert (exported.count, exported.records) == (3, ())
        assert exported.url == f"{storage.as_uri()}/{FILE}"
        assert exported.size_bytes == (storage / FILE).stat().st_size
        lines = gzip.decompress((storage / FILE).read_bytes()).splitlines()
        assert SECRET.encode() not in b"".join(lines)
        assert list(json.loads(lines[0]))[:10] == [
            "id", "content", "user_id", "kind", "tags", "created_at", "updated_at",
            "access_count", "last_accessed_at", "metadata",
        ]  # fmt: skip
        await memories.clear(Clear(user_id="ada"))
        imported = await bring_in(memories, Import(user_id="ada", source=FILE))
        assert (imported.imported_count, imported.count) == (3, 3)
        assert await rows(database_url) == before
        found = await memories.search(Search(user_id="ada", query="a black cat", limit=1))
        assert found.matches[0].memory.access_count == 2
    await assert_consistent(database_url, check_archive=False)


@in_loop
async def test_the_same_import_twice_is_as_once(database_url: str, storage: Path) -> None:
    async with side(database_url, storage) as memories:
        await filled(memories)
        await memories.export(Export(user_id="ada", name=FILE))
        tables = ("memory", "memory_archive", "memory_space", "compaction_run")
        before = [await query(database_url, f"SELECT * FROM {table}") for table in tables]
        imported = await bring_in(memories, Import(user_id="ada", source=FILE))
        assert imported == Imported(
            imported_count=0, merged_count=0, present_count=3, archived_count=0, count=3
        )
        assert [await query(database_url, f"SELECT * FROM {table}") for table in tables] == before


@in_loop
async def test_what_a_rule_removed_stays_in_the_archive_and_what_its_user_removed_comes_back(
    database_url: str, storage: Path
) -> None:
    texts = [word(number) for number in range(25)]
    lines = [
        {"content": text, "created_at": f"2025-12-{1 + place:02}T00:00:00Z"}
        for place, text in enumerate([*texts, texts[24].upper()])
    ]
    source = put(storage, *lines)
    async with side(database_url, storage, Policy(max_memories=20)) as memories:
        first = await bring_in(memories, Import(user_id="ada", source=source))
        assert (first.imported_count, first.merged_count, first.count) == (26, 1, 16)
        assert first.compaction.size_compaction is not None
        assert first.compaction.size_compaction.removed_count == 9
        assert await contents(database_url, "ada") == {*texts[9:24], texts[24].upper()}
        before = await rows(database_url)
        archive = await query(database_url, "SELECT * FROM memory_archive ORDER BY id")
        again = await bring_in(memories, Import(user_id="ada", source=source))
        assert (again.imported_count, again.present_count, again.archived_count) == (0, 16, 10)
        assert await rows(database_url) == before
        assert await query(database_url, "SELECT * FROM memory_archive ORDER BY id") == archive
        await memories.delete(Delete(user_id="ada", memory_id=UUID(str(before[0]["id"]))))
        back = await bring_in(memories, Import(user_id="ada", source=source))
        assert (back.imported_count, back.present_count) == (1, 15)
        assert await rows(database_url) == before
    await assert_consistent(database_url, Policy(max_memories=20), check_archive=False)


@in_loop
async def test_duplicates_are_merged_as_times_and_counts_say(database_url: str) -> None:
    records = (
        Record(content="a 0", access_count=2, last_accessed_at=START, tags=("x",)),
        Record(content="a 10", access_count=5, last_accessed_at=START - timedelta(1), tags=("y",)),
        Record(content="b 0", created_at=START - timedelta(2)),
        Record(content="b 10", created_at=START - timedelta(3)),
        Record(content="c 0"),
    )
    async with worker(database_url, ANGLES_POLICY, ANGLES) as memories:
        await remember(memories, "ada", "c 5", "old")
        imported = await bring_in(memories, Import(user_id="ada", records=records))
        assert (imported.imported_count, imported.merged_count, imported.count) == (5, 3, 3)
        listed = {one.content: one for one in (await memories.list(List(user_id="ada"))).memories}
        assert set(listed) == {"a 10", "b 0", "c 0"}
        assert (listed["a 10"].access_count, listed["a 10"].tags) == (7, ("y", "x"))
        assert listed["a 10"].last_accessed_at == START
        assert listed["c 0"].tags == ("old",)
    (space,) = await query(database_url, "SELECT * FROM memory_space")
    assert (space.count, space.most_accessed) == (3, 7)
    found = await query(database_url, "SELECT * FROM memory")
    assert_distinct(found, ANGLES_POLICY, ANGLES)


@in_loop
async def test_what_is_too_old_goes_by_age_and_is_never_kept_for_its_count(
    database_url: str,
) -> None:
    old = START - timedelta(days=200)
    records = (
        Record(content="Prefers dark mode", created_at=old, access_count=9),
        Record(content="Has a cat", created_at=old),
    )
    async with worker(database_url) as memories:
        await remember(memories, "ada", "prefers dark mode")
        imported = await bring_in(memories, Import(user_id="ada", records=records))
        assert imported.compaction.age_compaction is not None
        assert await contents(database_url, "ada") == {"prefers dark mode"}
        (kept,) = (await memories.list(List(user_id="ada"))).memories
        assert kept.access_count == 9


@in_loop
async def test_a_long_import_goes_on_slice_by_slice(
    database_url: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(record_source, "PAGE_RECORDS", 10)
    texts = [word(number) for number in range(45)]
    source = put(storage, *({"content": text} for text in texts))
    payload, told = Import(user_id="ada", source=source), list[Progress]()
    async with side(database_url, storage) as memories, side(database_url, storage) as elsewhere:
        for number in range(4):
            assert await memories.import_(payload, told.append) is None
            await remember(memories, "ada", f"said in between: {texts[number]}")
        assert (await memories.count(Count(user_id="ada"))).count == 44
        done = await elsewhere.import_(payload)
        assert done is not None
        assert (done.imported_count, done.count) == (45, 49)
        assert await memories.import_(payload) == done
    assert [(one.done, one.total) for one in told] == [(n, 45) for n in (10, 20, 30, 40)]
    await assert_consistent(database_url)


@in_loop
async def test_several_deliveries_at_once_import_once(
    database_url: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_source, "PAGE_RECORDS", 7)
    source = put(storage, *({"content": word(n), "access_count": n} for n in (*range(40), 3, 4)))
    payload = Import(user_id="ada", source=source)
    async with side(database_url, storage) as one, side(database_url, storage) as other:
        results = await asyncio.gather(*(bring_in(each, payload) for each in (one, other) * 2))
        assert len(set(results)) == 1
        assert (results[0].imported_count, results[0].present_count) == (40, 2)
    (space,) = await query(database_url, "SELECT * FROM memory_space")
    assert (space.count, space.most_accessed) == (40, 39)
    await assert_consistent(database_url)


@in_loop
async def test_a_cancelled_import_stops_after_a_whole_page(
    database_url: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(record_source, "PAGE_RECORDS", 10)
    payload = Import(user_id="ada", source=put(storage, *({"content": word(n)} for n in range(30))))
    async with opened(database_url) as database:
        memories = on(database, storage)
        assert await memories.import_(payload) is None
        cancelled = await Cancellation(database, RecordingOutbox()).cancel(
            Cancel(job_id=payload.id)
        )
        assert cancelled.cancelled
        with pytest.raises(Cancelled):
            await memories.import_(payload)
        assert (await memories.count(Count(user_id="ada"))).count == 10
    await assert_consistent(database_url)


@in_loop
async def test_an_empty_file_and_one_by_hand_are_read(database_url: str, storage: Path) -> None:
    (storage / "empty.jsonl").write_bytes(b"")
    (storage / "hand.jsonl").write_bytes(b'{"content": "Has a cat"}\n{"content": "Runs daily"}')
    async with side(database_url, storage) as memories:
        empty = await bring_in(memories, Import(user_id="ada", source="empty.jsonl"))
        assert (empty.imported_count, empty.count) == (0, 0)
        hand = await bring_in(memories, Import(user_id="ada", source="hand.jsonl"))
        assert (hand.imported_count, hand.count) == (2, 2)
        again = await bring_in(memories, Import(user_id="ada", source="hand.jsonl"))
        assert (again.present_count, again.count) == (2, 2)


@in_loop
async def test_a_space_of_another_embedder_is_written_with_its_own(
    database_url: str, storage: Path
) -> None:
    async with side(database_url, storage) as memories:
        await remember(memories, "ada", "a 10")
    async with side(database_url, storage, embedder=ANGLES) as memories:
        records = (Record(content="A 10"), Record(content="a 11"))
        await bring_in(memories, Import(user_id="ada", records=records))
    assert await contents(database_url, "ada") == {"A 10", "a 11"}


@in_loop
async def test_a_time_to_come_counts_as_now(database_url: str) -> None:
    later = datetime(2999, 1, 1, tzinfo=UTC)
    record = Record(content="x", created_at=later, updated_at=later, last_accessed_at=later)
    async with worker(database_url) as memories:
        await bring_in(memories, Import(user_id="ada", records=(record,)))
        (one,) = (await memories.list(List(user_id="ada"))).memories
        assert one.last_accessed_at is not None
        assert max(one.created_at, one.updated_at, one.last_accessed_at).year == START.year


@in_loop
async def test_both_are_told_as_events(database_url: str, storage: Path) -> None:
    told: list[events.Event] = []
    ends = [events.subscribe(f"dspy.memory.{name}", told.append) for name in ("export", "import")]
    async with side(database_url, storage) as memories:
        await filled(memories)
        await memories.export(Export(user_id="ada", name=FILE))
        await bring_in(memories, Import(user_id="eve", source=FILE, rename_user=True))
    for end in ends:
        end()
    assert [(one["event"], one["user"]) for one in told] == [
        ("dspy.memory.export", events.hashed("ada")),
        ("dspy.memory.import", events.hashed("eve")),
    ]
    assert (told[0]["count"], told[1]["imported_count"], told[1]["after_count"]) == (3, 3, 3)
    assert "cat" not in str(told)
