"""A file of several users, which erasures and exports replace at the same time."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas import uuid7
from bespoke_schemas.exports import ExportPrograms, ExportUser
from bespoke_schemas.memories import Export
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Refused
from bespoke_workers.memories.exporting import Exporting as ExportingMemories
from bespoke_workers.programs.bundles import Bundles
from bespoke_workers.settings import Settings
from bespoke_workers.storage.files import Writer
from bespoke_workers.storage.places import Storage
from bespoke_workers.users.erasure_files import Files
from bespoke_workers.users.exporting import Exporting
from tests.integration.databases import opened
from tests.integration.memory_workers import in_loop
from tests.integration.test_once import until_a_session_waits
from tests.nodes.waiting import SECONDS

FILE = "everybody.jsonl.gz"
Exports = Callable[[Database, str, str], Awaitable[Any]]


class Held:
    """The first file that is complete waits for its name, until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._waits, self._goes_on = threading.Event(), threading.Event()
        naming = Writer.finish

        def finish(writer: Writer) -> tuple[int, str]:
            if not self._waits.is_set():
                self._waits.set()
                assert self._goes_on.wait(SECONDS)
            return naming(writer)

        monkeypatch.setattr(Writer, "finish", finish)

    @asynccontextmanager
    async def during(self, work: Awaitable[Any], database: Database) -> AsyncIterator[Any]:
        """Do ``work`` up to the name, and the rest once what begins meanwhile waits or is done."""
        working = asyncio.ensure_future(work)
        others: list[asyncio.Future[Any]] = []
        try:
            assert await asyncio.to_thread(self._waits.wait, SECONDS)
            yield lambda work: others.append(asyncio.ensure_future(work))
            waiting = asyncio.create_task(until_a_session_waits(database))
            await asyncio.wait({waiting, *others}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        finally:
            self._goes_on.set()
        await working
        await asyncio.wait(others)


def told(storage: Path) -> set[str]:
    """Return whose lines there are in all files of a storage."""
    found = set()
    for path in storage.iterdir():
        found |= {json.loads(line)["user_id"] for line in path.read_bytes().splitlines()}
    return found


@in_loop
async def test_two_erasures_at_once_leave_neither_user(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = ("ada", "bob", "eve")
    lines = [json.dumps({"content": "a", "user_id": one}) for one in users]
    (tmp_path / "everybody.jsonl").write_text("\n".join([*lines, ""]))
    held, storage = Held(monkeypatch), Storage(tmp_path.as_uri())
    async with opened(database_url, pool_size=4) as database:
        of_ada, of_bob = (Files(database, storage, one, (), uuid7()) for one in users[:2])
        async with held.during(of_ada.clear(await of_ada.names()), database) as meanwhile:
            names = await of_bob.names()
            assert len(names) == 2  # the file, and what is to take its place
            meanwhile(of_bob.clear(names[::-1]))
    assert told(tmp_path) == {"eve"}
    assert len(list(tmp_path.iterdir())) == 1


async def of_programs(database: Database, storage: str, name: str) -> Any:
    payload = ExportPrograms(name=name, overwrite=True)
    return await Bundles(database, Settings(storage_url=storage)).export(payload)


async def of_a_user(database: Database, storage: str, name: str) -> Any:
    payload = ExportUser(user_id="bob", name=name)
    return await Exporting(database, Storage(storage)).export(payload)


async def of_memories(database: Database, storage: str, name: str) -> Any:
    payload = Export(user_id="bob", name=name)
    return await ExportingMemories(database, Storage(storage)).export(payload)


@pytest.mark.parametrize("export", [of_programs, of_a_user, of_memories])
@in_loop
async def test_an_export_is_not_undone_by_an_erasure_of_the_file_before(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Exports
) -> None:
    lines = [json.dumps({"content": "a", "user_id": one}) for one in ("ada", "eve")]
    file = tmp_path / "everybody.jsonl"
    file.write_text("\n".join([*lines, ""]))
    held, storage = Held(monkeypatch), tmp_path.as_uri()
    async with opened(database_url, pool_size=4) as database:
        files = Files(database, Storage(storage), "ada", (), uuid7())
        async with held.during(files.clear([file.name]), database) as meanwhile:
            exporting = asyncio.ensure_future(export(database, storage, file.name))
            meanwhile(exporting)
    assert (await exporting).size_bytes == file.stat().st_size


@in_loop
async def test_of_two_exports_of_one_name_the_later_is_refused(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    async with opened(database_url, pool_size=4) as database:
        bundles = Bundles(database, Settings(storage_url=tmp_path.as_uri()))
        async with held.during(bundles.export(ExportPrograms(name=FILE)), database) as meanwhile:
            later = asyncio.ensure_future(bundles.export(ExportPrograms(name=FILE)))
            meanwhile(later)
        with pytest.raises(Refused, match="there is a file at"):
            await later
