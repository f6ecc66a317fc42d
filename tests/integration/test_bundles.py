"""Versions go out in one file and come back the same, all or none, once."""

import asyncio
import gzip
import hashlib
import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from sqlalchemy import event

from bespoke_schemas import exports, ids, programs
from bespoke_schemas.jobs import Progress
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.observe import events
from bespoke_workers.programs.bundles import Bundles
from bespoke_workers.settings import Settings
from tests.integration.bundles import FILE, Side, an_entry, bundle_of, put
from tests.two_predictors import NAME, TRAP, hostile_state, tame_state


def fill(here: Side) -> None:
    """Save versions of several users, some of them awkward."""
    parent = here.save(user_id=None, activate=True, description="shared")
    here.save(
        state=tame_state('naïve 猫 😀 \u2028 \\ " \n'),
        parent_id=parent.program_id,
        optimizer="MIPROv2",
        score=0.1 + 0.2,
        optimization_result={"big": 1e100, "small": 1e-300, "nested": [[], {}, None, True]},
        tags=["one", "two"],
        metadata={"of": "ada"},
    )
    here.save(activate=True)
    here.save(user_id="bob 猫", activate=True)
    here.save(user_id="carol")
    here.activate("carol", parent.program_id)


def test_a_round_trip_into_an_empty_database_gives_equal_programs(here: Side, there: Side) -> None:
    fill(here)

    exported = here.export(name=FILE)
    imported = there.import_(exported.url)

    assert exported.count == imported.imported == 5
    assert imported.unchanged == 0
    assert there.versions() == here.versions()
    assert imported.program_ids == tuple(row["id"] for row in here.versions())
    assert there.pointers() == {}


def test_the_pointers_come_along_when_asked_for(here: Side, there: Side) -> None:
    fill(here)
    here.export(name=FILE)

    first = there.import_(activate=True)
    there.import_(activate=True)

    assert first.activated == 4
    assert there.pointers() == here.pointers()
    assert len(there.pointers()) == 4


def test_a_second_import_changes_nothing(here: Side) -> None:
    fill(here)
    here.export(name=FILE)
    before = here.versions()

    imported = here.import_()

    assert (imported.imported, imported.unchanged) == (0, 5)
    assert here.versions() == before


def test_numbers_that_the_database_writes_another_way_are_unchanged_too(there: Side) -> None:
    put(there.storage, bundle_of(an_entry(optimization_result={"n": 1e100, "m": [1.0, 5e-324]})))

    there.import_()

    assert there.import_().unchanged == 1


def test_the_same_import_delivered_many_times_at_once_is_one(here: Side, there: Side) -> None:
    fill(here)
    here.export(name=FILE)
    payload = exports.ImportPrograms(url=FILE)

    async def deliver() -> list[exports.Imported]:
        return await asyncio.gather(*(there.bundles.import_(payload) for _ in range(4)))

    answers = there.runner.run(deliver())

    assert all(answer == answers[0] for answer in answers)
    assert answers[0].imported == 5
    assert there.versions() == here.versions()


def test_a_redelivered_export_answers_the_same_and_leaves_its_file_alone(here: Side) -> None:
    fill(here)
    payload = exports.ExportPrograms()
    first = here.runner.run(here.bundles.export(payload))
    written = (here.storage / f"programs-{payload.id}.jsonl.gz").read_bytes()
    here.save()

    again = here.runner.run(here.bundles.export(payload))

    assert again == first
    assert (here.storage / f"programs-{payload.id}.jsonl.gz").read_bytes() == written
    assert first.sha256 == hashlib.sha256(written).hexdigest()
    assert first.size_bytes == len(written)


def test_an_import_whose_bundle_is_gone_answers_again_what_it_did(here: Side, there: Side) -> None:
    here.save()
    here.export(name=FILE)
    payload = exports.ImportPrograms(url=FILE)
    first = there.runner.run(there.bundles.import_(payload))
    (here.storage / FILE).unlink()

    assert there.runner.run(there.bundles.import_(payload)) == first


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def test_the_lines_carry_the_agreed_keys_and_a_checksum(here: Side) -> None:
    saved = here.save(activate=True, score=0.5)
    here.export(name=FILE)

    header, entry, trailer = lines_of(here.storage / FILE)
    body = gzip.decompress((here.storage / FILE).read_bytes()).splitlines(keepends=True)[:-1]

    assert {key: header[key] for key in ("format", "version", "count")} == {
        "format": "bespoke-programs", "version": 2, "count": 1,
    }  # fmt: skip
    assert datetime.fromisoformat(header["created_at"]).tzinfo is not None
    assert entry["program_id"] == str(saved.program_id)
    assert datetime.fromisoformat(entry["saved_at"]) == saved.saved_at
    assert entry["program_data"] == tame_state()
    assert entry["active"] is True
    assert {"optimization_result", "metadata"} < set(entry)
    assert trailer == {"sha256": hashlib.sha256(b"".join(body)).hexdigest(), "count": 1}
    assert [file.name for file in here.storage.iterdir()] == [FILE]


def test_an_export_selects_by_id_user_and_program(here: Side) -> None:
    fill(here)
    versions = here.versions()
    adas = [row["id"] for row in versions if row["user_id"] == "ada"]

    def exported(**query: Any) -> list[str]:
        here.export(name=FILE, **query)
        return [line["program_id"] for line in lines_of(here.storage / FILE)[1:-1]]

    assert exported() == [str(row["id"]) for row in versions]
    assert exported(user_id="ada") == [str(one) for one in adas]
    assert exported(program_ids=[adas[1]], program=NAME) == [str(adas[1])]
    assert exported(program="other") == []
    with pytest.raises(Refused, match=f"1 of 2 program_ids are not there.*{adas[0]}"):
        exported(program_ids=[adas[0], versions[-1]["id"]], user_id="carol")
    with pytest.raises(Refused, match="1 of 1 program_ids are not there"):
        exported(program_ids=[ids.uuid7()])
    assert [file.name for file in here.storage.iterdir()] == [FILE]


def test_rows_are_fetched_a_page_at_a_time(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bespoke_workers.programs.bundles.ROWS_AT_ONCE", 3)
    monkeypatch.setattr("bespoke_workers.programs.bundles.ENTRIES_AT_ONCE", 2)
    for number in range(8):
        here.save(user_id=f"user {number}")
    inserts: list[str] = []

    @event.listens_for(here.database.engine.sync_engine, "before_cursor_execute")
    def count(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("INSERT INTO program_version"):
            inserts.append(statement)

    assert here.export(name=FILE).count == 8
    assert here.import_().unchanged == 8
    assert len(inserts) == 4


def test_those_who_watch_are_told_how_far_a_bundle_is(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(here)
    monkeypatch.setattr("bespoke_workers.programs.bundles.ROWS_AT_ONCE", 2)
    monkeypatch.setattr("bespoke_workers.programs.bundles.ENTRIES_AT_ONCE", 3)
    told: list[Progress] = []

    here.runner.run(here.bundles.export(exports.ExportPrograms(name=FILE), told.append))
    here.runner.run(here.bundles.import_(exports.ImportPrograms(url=FILE), told.append))

    assert [(one.step, one.done, one.total) for one in told] == [
        ("exporting", 2, 5), ("exporting", 4, 5), ("exporting", 5, 5),
        ("checking", 3, 5), ("checking", 5, 5),
        ("importing", 3, 5), ("importing", 5, 5),
    ]  # fmt: skip


def test_nothing_hostile_comes_in_through_a_bundle(there: Side) -> None:
    put(there.storage, bundle_of(an_entry(program_data=hostile_state(), program="unknown here")))

    there.import_(activate=True)

    (row,) = there.versions()
    assert row["state"] == tame_state()
    assert TRAP not in str(row)


def test_another_fsspec_file_system_serves_as_well(here: Side) -> None:
    fill(here)
    url = f"memory://bespoke/{ids.uuid7()}"
    bundles = Bundles(here.database, Settings(storage_url=url))

    exported = here.runner.run(bundles.export(exports.ExportPrograms(name="nightly/all.gz")))
    imported = here.runner.run(bundles.import_(exports.ImportPrograms(url=exported.url)))

    assert exported.url == f"{url}/nightly/all.gz"
    assert imported.unchanged == 5
    files = fsspec.filesystem("memory").find(url)
    assert [file.rpartition("/")[2] for file in files] == ["all.gz"]


@pytest.mark.parametrize(
    "name",
    [
        "", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "./x", "a\\b", "x\ny",
        "file:///etc/passwd", "s3://bucket/x", "simplecache::s3://b/x", "x" * 201, "a/" * 300 + "x",
    ],
)  # fmt: skip
def test_a_name_outside_the_storage_is_refused(here: Side, name: str) -> None:
    before = sorted(here.storage.parent.rglob("*"))

    for attempt in (lambda: here.export(name=name), lambda: here.import_(name)):
        with pytest.raises(Refused, match="is no name under the storage URL"):
            attempt()

    assert sorted(here.storage.parent.rglob("*")) == before
    assert here.is_empty()


def test_a_url_that_only_begins_like_the_storage_is_refused(here: Side) -> None:
    for url in (f"{here.storage.as_uri()}-other/x", f"{here.storage.as_uri()}/../x"):
        with pytest.raises(Refused, match="is no name under the storage URL"):
            here.import_(url)


def test_a_missing_bundle_a_folder_and_a_wrong_storage_are_told(here: Side, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refused, match=r"no bundle at '.*/none\.gz'"):
        here.import_("none.gz")
    with pytest.raises(Refused, match=r"'.*/folder' is no file"):
        here.import_("folder")
    with pytest.raises(Misconfigured, match="BESPOKE_STORAGE_URL: fsspec refuses this 'nosuch'"):
        here.runner.run(
            Bundles(here.database, Settings(storage_url="nosuch://x")).export(
                exports.ExportPrograms()
            )
        )


def test_passwords_of_the_storage_url_are_not_told(here: Side) -> None:
    url = f"memory://key:secret@bespoke-{ids.uuid7()}"
    bundles = Bundles(here.database, Settings(storage_url=url))

    exported = here.runner.run(bundles.export(exports.ExportPrograms(name=FILE)))
    with pytest.raises(Refused) as refused:
        here.runner.run(bundles.import_(exports.ImportPrograms(url=f"{url}x/none.gz")))
    here.runner.run(bundles.import_(exports.ImportPrograms(url=exported.url)))

    assert "secret" not in exported.url + str(refused.value)


def test_events_tell_counts_and_sizes(here: Side, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: list[dict[str, Any]] = []
    ends = [
        events.subscribe(f"dspy.storage.{name}", lambda event: told.append(dict(event)))
        for name in ("export", "import")
    ]
    here.save()
    exported = here.export(name=FILE)
    here.import_()
    for end in ends:
        end()

    assert all(0 < event.pop("seconds") < 60 for event in told)
    assert told == [
        {"event": "dspy.storage.export", "count": 1, "size_bytes": exported.size_bytes},
        {"event": "dspy.storage.import", "imported": 0, "unchanged": 1, "activated": 0},
    ]
    assert "card lost" not in caplog.text


def test_what_was_imported_can_be_loaded_and_used(here: Side, there: Side) -> None:
    here.save(activate=True)
    here.export(name=FILE)
    there.import_(activate=True)

    payload = programs.LoadActive(program=NAME, user_id="ada")
    version = there.runner.run(there.library.load_active(payload)).version

    assert version is not None
    assert version.state == tame_state()
