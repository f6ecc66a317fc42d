"""Before a large compaction the space is exported, or nothing is removed."""

import errno
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest

from bespoke_schemas import Payload, uuid7
from bespoke_schemas.memories import (
    Compact,
    Compaction,
    Import,
    ListCompactions,
    NewMemory,
    Record,
    Search,
    SetPolicy,
    Store,
    StoreMany,
)
from bespoke_workers.errors import Transient, Unusable
from bespoke_workers.memories import safeguard
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.safeguard_pruning import SafeguardPruning
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe import events
from bespoke_workers.storage.places import Storage
from tests.integration.memory_workers import (
    CACHE_BYTES,
    LEXICAL,
    Clock,
    assert_sound,
    in_loop,
    opened,
    query,
)
from tests.integration.record_files import bring_in, rows
from tests.integration.test_memories_compaction import fill, word
from tests.nodes.waiting import SECONDS

FOLDER = "before-compaction"
FULL = Policy(max_memories=20)
JOBS: list[Payload[Any]] = [
    Store(user_id="ada", content=word(50)),
    StoreMany(user_id="ada", memories=(NewMemory(content=word(50)),)),
    Import(user_id="ada", records=(Record(content=word(50)),)),
    Compact(user_id="ada", force=True),
]


@asynccontextmanager
async def safe(
    url: str,
    storage: Path,
    share: float | None,
    policy: Policy = DEFAULT,
    clock: Callable[[], datetime] | None = None,
) -> AsyncIterator[Memories]:
    """Start what a worker has that exports before it removes more than a share."""
    async with opened(url) as database:
        yield Memories(
            database,
            LEXICAL,
            policy,
            IndexCache(CACHE_BYTES),
            clock or Clock(),
            storage=Storage(storage.as_uri()),
            export_before_share=share,
        )


async def do(memories: Memories, payload: Payload[Any]) -> Compaction:
    """Do a job and return the report of its compaction."""
    if isinstance(payload, Compact):
        return await memories.compact(payload)
    if isinstance(payload, Import):
        return (await bring_in(memories, payload)).compaction
    if isinstance(payload, StoreMany):
        return (await memories.store_many(payload)).compaction
    assert isinstance(payload, Store)
    return (await memories.store(payload)).compaction


def without_ids(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [{key: one for key, one in row.items() if key != "id"} for row in found]
    return sorted(kept, key=lambda row: str(row["content"]))


@pytest.mark.parametrize("rows_at_once", [500, 10, 7])
@in_loop
async def test_the_file_holds_what_was_there_before(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(safeguard, "ROWS_AT_ONCE", rows_at_once)
    told: list[events.Event] = []
    end = events.subscribe("dspy.memory.compaction_complete", told.append)
    async with safe(database_url, tmp_path, 0.5) as memories:
        await fill(memories, 28)
        rich = Store(user_id="ada", content=word(28), kind="pet", tags=("a",), metadata={"n": [1]})
        await memories.store(rich)
        await memories.store(Store(user_id="ada", content=word(29)))
        await memories.store(Store(user_id="eve", content=word(90)))
        await memories.search(Search(user_id="ada", query=word(3), limit=2))
        before = await rows(database_url)
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=10))
        compact = Compact(user_id="ada")
        report = await memories.compact(compact)
        assert await memories.compact(compact) == report
        (run,) = (await memories.list_compactions(ListCompactions(user_id="ada"))).runs
        assert run.report == report
        name = f"{FOLDER}/{events.hashed('ada')}/{compact.id}.jsonl.gz"
        assert report.exported_to == f"{tmp_path.as_uri()}/{name}"
        assert (report.total_compacted, len(before)) == (22, 30)
        taken = Import(user_id="bob", source=report.exported_to, rename_user=True)
        assert (await bring_in(memories, taken)).imported_count == 30
    end()
    assert [one["exported_to"] for one in told] == [report.exported_to]
    assert without_ids(await rows(database_url, "bob")) == without_ids(before)


@pytest.mark.parametrize("share", [None, 0.25, 1.0])
@in_loop
async def test_up_to_the_share_nothing_is_written(
    database_url: str, tmp_path: Path, share: float | None
) -> None:
    async with safe(database_url, tmp_path, share, FULL) as memories:
        await fill(memories, 20)
        report = await memories.compact(Compact(user_id="ada", force=True))
        assert (report.total_compacted, report.exported_to) == (4, None)
        await fill(memories, 4, start=30)
        (stored,) = await fill(memories, 1, start=40)
        assert (stored.compaction.total_compacted, stored.compaction.exported_to) == (5, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("payload", JOBS, ids=lambda one: type(one).__name__)
@in_loop
async def test_while_the_storage_fails_nothing_is_removed_and_the_job_waits(
    database_url: str, tmp_path: Path, payload: Payload[Any]
) -> None:
    in_the_way = tmp_path / FOLDER
    in_the_way.write_text("a file where a folder is to be")
    async with safe(database_url, tmp_path, 0.1, FULL) as memories:
        await fill(memories, 20)
        before = await rows(database_url)
        for _ in range(2):
            with pytest.raises(Unusable, match=r"BESPOKE_EXPORT_BEFORE_SHARE: .* nothing is"):
                await do(memories, payload)
        assert await rows(database_url) == before
        assert await query(database_url, "SELECT id FROM memory_archive") == []
        in_the_way.unlink()

        report, again = [await do(memories, payload) for _ in range(2)]
    assert report == again
    assert report.exported_to is not None
    (written,) = tmp_path.rglob("*.*")
    assert written.as_uri() == report.exported_to
    lines = gzip.decompress(written.read_bytes()).splitlines()
    new = 0 if isinstance(payload, Compact) else 1
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == 20 + new
    assert len(await rows(database_url)) == 20 + new - report.total_compacted
    archived = await query(database_url, "SELECT run_id FROM memory_archive")
    assert [row.run_id for row in archived] == [payload.id] * report.total_compacted
    if isinstance(payload, Store):
        await assert_sound(database_url, "ada", FULL)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (OSError(errno.ENOSPC, "no space"), "the storage failed: OSError"),
        (RuntimeError("with a password"), "nothing is removed: RuntimeError$"),
    ],
    ids=["full", "unknown"],
)
@in_loop
async def test_a_file_that_is_not_completed_leaves_no_trace(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    reason: str,
) -> None:
    class FailingFiles(type(Storage(tmp_path.as_uri()).files)):  # type: ignore[misc]  # fsspec has no types
        cachable = False

        def mv(self, *_: object, **__: object) -> None:
            raise failure

    async with safe(database_url, tmp_path, 0.1, FULL) as memories:
        await fill(memories, 20)
        with monkeypatch.context() as patched:
            patched.setattr(Storage, "files", property(lambda _: FailingFiles()))
            with pytest.raises(Transient, match=reason):
                await memories.store(Store(user_id="ada", content=word(20)))
    assert not list(tmp_path.rglob("*.*"))
    assert len(await rows(database_url)) == 20


AT_NIGHT = uuid5(NAMESPACE_OID, "the id of a compaction at night tells no time")


@pytest.mark.parametrize("job_id", [uuid7(), AT_NIGHT], ids=["asked for", "at night"])
@in_loop
async def test_files_go_when_the_archive_would(
    database_url: str, tmp_path: Path, job_id: UUID
) -> None:
    now = datetime.now(UTC)
    beside = tmp_path / "of-the-application.jsonl.gz"
    async with safe(database_url, tmp_path, 0.5, clock=lambda: now) as memories:
        await fill(memories, 20)
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=5))
        report = await memories.compact(Compact(id=job_id, user_id="ada"))
    assert report.exported_to is not None
    (written,) = (tmp_path / FOLDER).rglob("*.jsonl.gz")
    beside.write_bytes(b"")
    by_hand = written.with_name("notes.txt")
    by_hand.write_bytes(b"")
    storage = Storage(tmp_path.as_uri())

    assert await SafeguardPruning(storage, lambda: now + timedelta(days=29), 30).prune(SECONDS)
    assert await SafeguardPruning(storage, lambda: now + timedelta(days=31), 30).prune(SECONDS)

    assert (written.exists(), by_hand.exists(), beside.exists()) == (False, True, True)
    by_hand.unlink()
    assert await SafeguardPruning(storage, lambda: now + timedelta(days=99), 30).prune(SECONDS)


@in_loop
async def test_where_nothing_was_exported_nothing_is_pruned(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "none").as_uri())
    assert await SafeguardPruning(storage, lambda: datetime.now(UTC), 30).prune(SECONDS)
