"""A record file with anything wrong in it is refused whole, and nothing of it is told."""

from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.ids import uuid7
from bespoke_schemas.memories import (
    Export,
    Import,
    List,
    Record,
)
from bespoke_workers.errors import Refused
from bespoke_workers.memories import importing, record_source
from tests.integration.memory_workers import (
    contents,
    in_loop,
    query,
    remember,
)
from tests.integration.record_files import FILE, SECRET, bring_in, filled, put, rows, side
from tests.integration.test_memories_compaction import word


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
        for _ in range(2):
            with pytest.raises(Refused, match="changed since this import began: 2 of its 6 record"):
                await memories.import_(payload)
        # It is not under way any more, and only what was done stays.
        (job,) = await query(database_url, "SELECT state, reason, result FROM job")
        assert (job.state, job.result, len(await rows(database_url))) == ("failed", None, 2)
        assert "import it again under a new id" in job.reason


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
