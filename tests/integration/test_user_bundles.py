"""All that there is of a user goes into one bundle, and comes out of it as it was."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.examples import AddMany, Feedback
from bespoke_schemas.exports import ExportUser, ImportUser
from bespoke_schemas.memories import (
    Clear,
    Delete,
    Join,
    NewMemory,
    Restore,
    SetPolicy,
    Store,
    StoreMany,
)
from bespoke_schemas.programs import Save
from bespoke_workers.errors import Refused
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.policy import DEFAULT
from bespoke_workers.memories.store import Memories
from bespoke_workers.programs import state
from bespoke_workers.storage.places import Storage
from bespoke_workers.users import importing
from bespoke_workers.users.exporting import Exporting
from bespoke_workers.users.importing import Importing
from tests.integration.memory_workers import LEXICAL, Clock, contents, in_loop, query, worker
from tests.integration.optimizing import PROGRAM, Worker, lessons, working

TEXTS = ("Has a black cat", "Likes green tea", "Lives in Turin")


class Desk:
    """What a worker of exports has."""

    def __init__(self, programs: Worker, memories: Memories, folder: Path, clock: Clock) -> None:
        storage = Storage(folder.as_uri())
        self.programs = programs
        self.memories = memories
        self.folder = folder
        self.exporting = Exporting(programs.database, storage)
        self.importing = Importing(
            programs.database, storage, Defaults(DEFAULT), lambda: LEXICAL, clock
        )

    async def live(self, user_id: str) -> None:
        for text in TEXTS:
            await self.memories.store(Store(user_id=user_id, content=text, tags=("x",)))
        gone = await self.memories.store(Store(user_id=user_id, content="Sold the piano"))
        await self.memories.delete(Delete(user_id=user_id, memory_id=gone.memory_id))
        await self.memories.set_policy(SetPolicy(user_id=user_id, max_memories=7))
        await self.memories.join(Join(user_id=user_id, space="team"))
        taught = AddMany(user_id=user_id, program=PROGRAM, examples=lessons(11))
        await self.programs.examples.add_many(taught)
        liked = {"inputs": {"text": "Thanks"}, "outputs": {"label": "amber tray"}}
        said = Feedback(user_id=user_id, program=PROGRAM, positive=True, **liked)
        await self.programs.learning.take(said)
        module = self.programs.library.module_for(PROGRAM, None)
        saved = Save(user_id=user_id, program=PROGRAM, state=state.dump(module), activate=True)
        await self.programs.library.save(saved)


@asynccontextmanager
async def desk(url: str, folder: Path) -> AsyncIterator[Desk]:
    clock = Clock()
    async with working(url, folder / "home") as programs, worker(url, clock=clock) as memories:
        yield Desk(programs, memories, folder, clock)


async def rows_of(url: str, user_id: str) -> dict[str, list[Any]]:
    """Return what an import brings in of a user, but for ids and versions of the space."""
    columns = {
        "memory": "content, kind, tags, meta, created_at, access_count",
        "memory_archive": "content, reason, removed_at, tags",
        "example": "program, position, fields, digest",
        "learner": "program, example_count, added_total, optimized_total, tier, approved_total",
        "program_version": "program, state, score, saved_at, fingerprint",
        "active_program": "program",
        "memory_space": "count, preset, policy",
    }
    return {
        table: sorted(
            map(str, await query(url, f"SELECT {some} FROM {table} WHERE user_id = :u", u=user_id))
        )
        for table, some in columns.items()
    }


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@in_loop
async def test_a_bundle_holds_all_there_is_section_by_section(
    database_url: str, tmp_path: Path
) -> None:
    async with desk(database_url, tmp_path) as here:
        await here.live("ada")
        await here.live("bob")
        exported = await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))

    header, *entries, trailer = lines(tmp_path / "ada.jsonl.gz")
    assert (header["format"], header["user_id"]) == ("bespoke-user", "ada")
    assert header["sections"] == exported.sections
    kinds = ("policy", "memories", "archive", "examples", "learners", "programs", "memberships")
    assert [exported.sections[name] for name in kinds] == [1, 3, 1, 12, 1, 1, 1]
    assert exported.sections["jobs"] >= 8
    assert len(entries) == trailer["count"] == sum(exported.sections.values())
    assert "bob" not in gzip.decompress((tmp_path / "ada.jsonl.gz").read_bytes()).decode()


@in_loop
async def test_another_name_gets_all_of_it_and_the_first_keeps_its_own(
    database_url: str, tmp_path: Path
) -> None:
    async with desk(database_url, tmp_path) as here:
        await here.live("ada")
        await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))
        before = await rows_of(database_url, "ada")

        payload = ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True)
        imported = await here.importing.import_(payload)

        assert await rows_of(database_url, "ada") == before
        assert await rows_of(database_url, "eve") == before
        assert (imported.memories, imported.spaces) == (3, ("team",))
        (removed,) = await query(database_url, "SELECT * FROM memory_archive WHERE user_id = 'eve'")
        back = await here.memories.restore(Restore(user_id="eve", memory_id=removed.memory_id))
        assert back.restored_count == 1
        stored = await here.memories.store(Store(user_id="eve", content="has a black cat"))
        assert (stored.outcome, stored.count) == ("merged", 4)
        assert await query(database_url, "SELECT user_id FROM space_member") == [("ada",)]


@in_loop
async def test_twice_is_as_once_and_a_user_with_something_is_refused(
    database_url: str, tmp_path: Path
) -> None:
    async with desk(database_url, tmp_path) as here:
        await here.live("ada")
        await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))
        first = ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True)
        done = await here.importing.import_(first)
        before = await rows_of(database_url, "eve")

        assert await here.importing.import_(first) == done
        again = await here.importing.import_(
            ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True)
        )
        assert again == done.model_copy(update={"unchanged": True})
        with pytest.raises(Refused, match="there is something of this user already"):
            await here.importing.import_(ImportUser(user_id="ada", url="ada.jsonl.gz"))
        with pytest.raises(Refused, match="another user's; give rename_user=True"):
            await here.importing.import_(ImportUser(user_id="zoe", url="ada.jsonl.gz"))
        assert await rows_of(database_url, "eve") == before


@in_loop
async def test_of_two_imports_at_once_the_later_finds_it_done(
    database_url: str, tmp_path: Path
) -> None:
    async with desk(database_url, tmp_path) as here:
        await here.live("ada")
        await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))
        asked = [ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True) for _ in range(2)]
        done = await asyncio.gather(*map(here.importing.import_, asked))
        assert sorted(one.unchanged for one in done) == [False, True]


@in_loop
async def test_whoever_is_taught_while_a_bundle_comes_in_is_somebody_already(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(database_url, tmp_path) as here:
        await here.live("ada")
        await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))
        require_nothing = importing._require_nothing

        async def teach_after(session: AsyncSession, user_id: str) -> None:
            await require_nothing(session, user_id)
            taught = AddMany(user_id=user_id, program=PROGRAM, examples=lessons(3))
            await here.programs.examples.add_many(taught)

        monkeypatch.setattr(importing, "_require_nothing", teach_after)
        asked = ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True)
        with pytest.raises(Refused, match="there is something of this user already"):
            await here.importing.import_(asked)
        assert len((await rows_of(database_url, "eve"))["example"]) == 3


@in_loop
async def test_what_is_imported_keeps_to_the_policy_that_it_brings(
    database_url: str, tmp_path: Path
) -> None:
    async with desk(database_url, tmp_path) as here:
        await here.memories.set_policy(SetPolicy(user_id="ada", max_memories=1000))
        for number in range(30):
            await here.memories.store(
                Store(user_id="ada", content=f"{'word' * number} of {number}")
            )
        await query(
            database_url,
            "UPDATE memory_space SET policy = '{\"max_memories\": 10}' RETURNING count",
        )
        await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))

        imported = await here.importing.import_(
            ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True)
        )

        assert (imported.sections["memories"], imported.memories) == (30, 8)
        archived = await query(database_url, "SELECT reason FROM memory_archive")
        assert {row.reason for row in archived} == {"size"}
        assert len(archived) == 22


def changed(change: Callable[[list[Any]], None]) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        whole = lines(path)
        change(whole)
        text = b"".join(json.dumps(one).encode() + b"\n" for one in whole)
        path.write_bytes(gzip.compress(text))

    return rewrite


def resealed(change: Callable[[list[Any]], None]) -> Callable[[Path], None]:
    """Change a bundle as whoever can make a checksum does."""

    def rewrite(path: Path) -> None:
        *whole, trailer = lines(path)
        change(whole)
        text = b"".join(json.dumps(one).encode() + b"\n" for one in whole)
        trailer["sha256"] = hashlib.sha256(text).hexdigest()
        path.write_bytes(gzip.compress(text + json.dumps(trailer).encode() + b"\n"))

    return rewrite


def _reset(path: list[Any], **fields: Any) -> None:
    path[0].update(fields)


def _without_a_signature(whole: list[Any]) -> None:
    (version,) = (one for one in whole[1:] if one["section"] == "programs")
    for predictor in version["entry"]["program_data"].values():
        predictor.pop("signature", None)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "cut off|truncated"),
        (changed(lambda whole: whole.pop()), "trailer is missing"),
        (changed(lambda whole: whole.pop(3)), "expected|truncated|ends"),
        (changed(lambda whole: _reset(whole, version=2)), "newer than 1; update the workers"),
        (changed(lambda whole: _reset(whole, sections={"secrets": 1})), "unknown sections"),
        (changed(lambda whole: whole[2]["entry"].update(content="altered")), "checksum differs"),
        (changed(lambda whole: whole[2]["entry"].update(content=" ")), r"line 3: memories.content"),
        (changed(lambda whole: whole[2]["entry"].update(lm="x")), "a key that format 1 does not"),
        (resealed(lambda whole: whole[1]["entry"].update(preset="surprise")), "policy preset"),
        (resealed(_without_a_signature), r"line \d+: programs: state"),
        (lambda path: path.write_bytes(b"no gzip"), "not gzip"),
        (lambda path: path.write_bytes(gzip.compress(b"")), "it is empty"),
    ],
)
@in_loop
async def test_a_bundle_that_is_not_as_it_was_is_refused_and_nothing_is_written(
    database_url: str, tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    async with desk(database_url, tmp_path) as here:
        await here.live("ada")
        await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))
        harm(tmp_path / "ada.jsonl.gz")

        with pytest.raises(Refused, match=reason):
            await here.importing.import_(
                ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True)
            )

    for table in ("memory_space", "memory", "job", "example", "program_version"):
        assert await query(database_url, f"SELECT user_id FROM {table} WHERE user_id = 'eve'") == []


@in_loop
async def test_what_was_imported_is_sound(database_url: str, tmp_path: Path) -> None:
    async with desk(database_url, tmp_path) as here:
        for text in TEXTS:
            await here.memories.store(Store(user_id="ada", content=text))
        await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))
        payload = ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True)
        await here.importing.import_(payload)

        await here.memories.store(Store(user_id="eve", content="Sings in a choir"))

    assert await contents(database_url, "eve") == {*TEXTS, "Sings in a choir"}
    (space,) = await query(database_url, "SELECT * FROM memory_space WHERE user_id = 'eve'")
    assert space.count == 4


@in_loop
async def test_a_user_of_many_pages_goes_out_and_comes_in(
    database_url: str, tmp_path: Path
) -> None:
    """More of everything than what is read or written at once."""
    async with desk(database_url, tmp_path) as here:
        many = tuple(
            NewMemory(content=f"{number}: {'ab' * (number % 97)}") for number in range(700)
        )
        await here.memories.store_many(StoreMany(user_id="ada", memories=many))
        await here.memories.clear(Clear(user_id="ada"))
        again = tuple(
            NewMemory(content=f"{'cd' * (number % 89)} {number}") for number in range(700)
        )
        await here.memories.store_many(StoreMany(user_id="ada", memories=again))
        await here.exporting.export(ExportUser(user_id="ada", name="ada.jsonl.gz"))
        before = await rows_of(database_url, "ada")

        payload = ImportUser(user_id="eve", url="ada.jsonl.gz", rename_user=True)
        await here.importing.import_(payload)

        assert len(before["memory"]) > 500
        assert len(before["memory_archive"]) > 500
        assert await rows_of(database_url, "eve") == before
