"""Memories taken out as records and brought in again: nothing lost, nothing twice."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas.ids import uuid7
from bespoke_schemas.jobs import Cancel, Progress
from bespoke_schemas.memories import (
    Clear,
    Count,
    Delete,
    Export,
    Import,
    Imported,
    List,
    NewMemory,
    Record,
    Search,
    Store,
    StoreMany,
)
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Cancelled, Refused
from bespoke_workers.memories import importing, record_source
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe import events
from bespoke_workers.optimization.cancellation import Cancellation
from bespoke_workers.storage.files import Writer
from bespoke_workers.storage.places import Storage
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    CACHE_BYTES,
    LEXICAL,
    START,
    Clock,
    assert_distinct,
    contents,
    in_loop,
    installed,
    opened,
    query,
    remember,
    worker,
)
from tests.integration.optimizing import RecordingOutbox
from tests.integration.test_memories_compaction import word
from tests.integration.test_memories_many import assert_consistent

SECRET = "the card of ada was lost"
FILE = "ada.jsonl.gz"


@asynccontextmanager
async def side(
    url: str, storage: Path, policy: Policy = DEFAULT, embedder: Embedder = LEXICAL
) -> AsyncIterator[Memories]:
    """Start what a worker has, with files in a directory."""
    async with opened(url) as database:
        yield on(database, storage, policy, embedder)


def on(
    database: Database, storage: Path, policy: Policy = DEFAULT, embedder: Embedder = LEXICAL
) -> Memories:
    storage.mkdir(exist_ok=True)
    files, cache = Storage(storage.as_uri()), IndexCache(CACHE_BYTES)
    return Memories(database, embedder, policy, cache, Clock(), load_older=installed, storage=files)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    directory = tmp_path / "storage"
    directory.mkdir()
    return directory


async def bring_in(memories: Memories, payload: Import) -> Imported:
    """Deliver an import until it is done, as its queue does."""
    for _ in range(1000):
        imported = await memories.import_(payload)
        if imported is not None:
            return imported
    raise AssertionError("the import does not end")


def put(storage: Path, *lines: dict[str, Any] | bytes, name: str = "in.jsonl") -> str:
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (storage / name).write_bytes(b"\n".join([*encoded, b""]))
    return name


async def rows(url: str, user_id: str = "ada") -> list[dict[str, Any]]:
    """Return a user's memories, all that is kept of them but what differs by place."""
    found = await query(
        url,
        "SELECT id, content, kind, tags, meta, facts, access_count, last_accessed_at, created_at, "
        "updated_at, renewed_at FROM memory WHERE user_id = :user ORDER BY id",
        user=user_id,
    )
    return [dict(row._mapping) for row in found]


async def filled(memories: Memories) -> None:
    """Remember things with all that a memory can have."""
    await memories.store(
        Store(user_id="ada", content="Prefers “dark” mode", tags=("ui", "a"), metadata={"n": [1]})
    )
    await memories.store(Store(user_id="ada", content="Has a black cat", kind="pet"))
    await remember(memories, "ada", "Lives in Turin\nand likes it")
    await memories.search(Search(user_id="ada", query="a cat", limit=1))
    await remember(memories, "ada", "prefers “dark” mode")
    await remember(memories, "bob", SECRET)


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
async def test_a_file_that_changed_since_is_refused(
    database_url: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SLICE_SECONDS", -1.0)
    monkeypatch.setattr(record_source, "PAGE_RECORDS", 2)
    payload = Import(user_id="ada", source=put(storage, *({"content": word(n)} for n in range(6))))
    async with side(database_url, storage) as memories:
        assert await memories.import_(payload) is None
        put(storage, *({"content": word(n)} for n in range(7)))
        with pytest.raises(Refused, match="changed since this import began: 2 of its 6 records"):
            await memories.import_(payload)


@in_loop
async def test_an_id_of_another_user_is_neither_taken_nor_told(
    database_url: str, storage: Path
) -> None:
    async with side(database_url, storage) as memories:
        stored = await remember(memories, "bob", SECRET)
        before = await rows(database_url, "bob")
        payload = Import(
            user_id="ada", records=(Record(id=stored.memory_id, content="Has a cat", tags=("x",)),)
        )
        imported = await bring_in(memories, payload)
        assert (imported.imported_count, imported.present_count, imported.count) == (1, 0, 1)
        (own,) = (await memories.list(List(user_id="ada"))).memories
        assert (own.content, own.tags) == ("Has a cat", ("x",))
        assert own.id != stored.memory_id
        again = await bring_in(memories, payload.model_copy(update={"id": uuid7()}))
        assert (again.imported_count, again.present_count, again.count) == (0, 1, 1)
        assert await rows(database_url, "bob") == before


@in_loop
async def test_records_of_another_user_are_taken_over_by_choice_only(
    database_url: str, storage: Path
) -> None:
    async with side(database_url, storage) as memories:
        await filled(memories)
        await memories.export(Export(user_id="ada", name=FILE))
        with pytest.raises(Refused, match="record file, line 1: user_id: it is another user's"):
            await bring_in(memories, Import(user_id="eve", source=FILE))
        for expected in ((3, 0), (0, 3)):
            taken = await bring_in(memories, Import(user_id="eve", source=FILE, rename_user=True))
            assert (taken.imported_count, taken.present_count) == expected
        assert await contents(database_url, "eve") == await contents(database_url, "ada")
        ids = [{row["id"] for row in await rows(database_url, user)} for user in ("ada", "eve")]
        assert not ids[0] & ids[1]


GOOD = {"content": "Has a cat"}
BAD: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "no JSON": (b'{"content": "x"', "record: Invalid JSON"),
    "no object": (b"[]", "record: "),
    "no content": ({"kind": "fact"}, "content: Field required"),
    "blank content": ({"content": " "}, "content: Value error, is blank"),
    "unknown key": ({**GOOD, SECRET: 1}, "a key that records do not have"),
    "no id": ({**GOOD, "id": "seven"}, "id: "),
    "no time": ({**GOOD, "created_at": "2026-01-01T00:00:00"}, "created_at: "),
    "no count": ({**GOOD, "access_count": -1}, "access_count: "),
    "NUL": ({**GOOD, "metadata": {SECRET: "\x00"}}, "metadata: Value error, holds a NUL"),
    "other user": ({**GOOD, "user_id": SECRET}, "user_id: it is another user's"),
    "no UTF-8": (b'{"content": "\xff"}', "record: "),
    "empty line": (b"", "record: Invalid JSON"),
}


@pytest.mark.parametrize("case", BAD)
@in_loop
async def test_a_bad_line_is_named_and_nothing_is_imported(
    database_url: str, storage: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_source, "PAGE_RECORDS", 1)
    line, reason = BAD[case]
    source = put(storage, GOOD, {**GOOD, "user_id": "ada"}, line, GOOD)
    async with side(database_url, storage) as memories:
        with pytest.raises(Refused) as refused:
            await memories.import_(Import(user_id="ada", source=source))
    assert str(refused.value).startswith(f"record file, line 3: {reason}")
    assert SECRET not in str(refused.value)
    for table in ("memory", "memory_space", "job"):
        assert await query(database_url, f"SELECT 1 FROM {table}") == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("../etc/passwd", "no name under the storage URL"),
        ("/etc/passwd", "no name under the storage URL"),
        ("https://user:secret@host/x", "no name under the storage URL"),
        ("missing.jsonl", "no record file at"),
        ("plain.jsonl.gz", "record file, line 1: not gzip"),
    ],
)
@in_loop
async def test_a_source_that_cannot_be_read_is_refused(
    database_url: str, storage: Path, source: str, reason: str
) -> None:
    put(storage, GOOD, name="plain.jsonl.gz")
    async with side(database_url, storage) as memories:
        with pytest.raises(Refused, match=reason) as refused:
            await memories.import_(Import(user_id="ada", source=source))
        assert "secret" not in str(refused.value)
        if reason.startswith("no name"):
            with pytest.raises(Refused, match=reason):
                await memories.export(Export(user_id="ada", name=source))
    assert await query(database_url, "SELECT 1 FROM job") == []


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
async def test_an_export_selects_and_a_plain_name_is_plain(
    database_url: str, storage: Path
) -> None:
    async with side(database_url, storage) as memories:
        await filled(memories)
        pets = await memories.export(Export(user_id="ada", kind="pet", name="deep/pets.jsonl"))
        (line,) = (storage / "deep" / "pets.jsonl").read_bytes().splitlines()
        assert (pets.count, json.loads(line)["content"]) == (1, "Has a black cat")
        tagged = await memories.export(Export(user_id="ada", tags=("a", "ui")))
        assert tagged.count == 1
        assert tagged.url is not None
        assert tagged.url.endswith(".jsonl.gz")
        nobody = await memories.export(Export(user_id="eve"))
        assert nobody.count == 0


@in_loop
async def test_an_inline_export_is_kept_nowhere(
    database_url: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with side(database_url, storage) as memories:
        await filled(memories)
        payload = Export(user_id="ada", inline=True)
        exported = await memories.export(payload)
        assert (exported.count, exported.url) == (3, None)
        assert [one.content for one in exported.records][:2] == [
            "Has a black cat",
            "Lives in Turin\nand likes it",
        ]
        assert await query(database_url, "SELECT 1 FROM job WHERE id = :id", id=payload.id) == []
        assert list(storage.iterdir()) == []
        await memories.clear(Clear(user_id="ada"))
        back = await bring_in(memories, Import(user_id="ada", records=exported.records))
        assert (back.imported_count, back.count) == (3, 3)
        monkeypatch.setattr("bespoke_workers.memories.exporting.MANY_LIMIT", 2)
        with pytest.raises(Refused, match="more than 2 memories; export them to a file"):
            await memories.export(payload)


@in_loop
async def test_an_export_goes_page_by_page(
    database_url: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bespoke_workers.memories.exporting.ROWS_AT_ONCE", 5)
    async with side(database_url, storage) as memories:
        together = tuple(NewMemory(content=word(number)) for number in range(30))
        await memories.store_many(StoreMany(user_id="ada", memories=together))
        pages: list[int] = []
        write = Writer.write

        def counted(self: Writer, lines: list[bytes]) -> None:
            pages.append(len(lines))
            write(self, lines)

        monkeypatch.setattr(Writer, "write", counted)
        assert (await memories.export(Export(user_id="ada", name=FILE))).count == 30
        assert pages == [5] * 6


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
