"""A user's memories go out as records: those asked for, page by page."""

import json
from pathlib import Path

import pytest

from bespoke_schemas.jobs import Progress
from bespoke_schemas.memories import (
    Clear,
    Export,
    Import,
    NewMemory,
    StoreMany,
)
from bespoke_workers.errors import Refused
from bespoke_workers.storage.files import Writer
from tests.integration.memory_workers import (
    in_loop,
    query,
)
from tests.integration.record_files import FILE, bring_in, filled, side
from tests.integration.test_memories_compaction import word


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
        told = list[Progress]()
        exported = await memories.export(Export(user_id="ada", name=FILE), told.append)
        assert exported.count == 30
        assert pages == [5] * 6
        assert [(one.done, one.total) for one in told] == [(n, 30) for n in range(5, 31, 5)]
