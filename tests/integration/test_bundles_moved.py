"""Bundles that go to another installation: other users, a trial, other tools, names taken."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bespoke_schemas import exports
from bespoke_schemas.ids import uuid7
from bespoke_schemas.jobs import Progress
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.errors import Refused
from tests.integration.bundles import FILE, Side, an_entry, bundle_of, put
from tests.two_predictors import NAME, tame_state


def owners(there: Side) -> list[str | None]:
    return sorted((row["user_id"] for row in there.versions()), key=str)


def test_users_are_renamed_and_shared_versions_stay_shared(there: Side) -> None:
    put(
        there.storage,
        bundle_of(
            an_entry(active=True),
            an_entry(user_id="bob", active=True),
            shared := an_entry(user_id=None, active=True, used_by=["carol", "dave"]),
        ),
    )

    imported = there.import_(activate=True, users={"ada": "1", "carol": "2", "nobody": "3"})

    assert imported.activated == 5
    assert owners(there) == ["1", None, "bob"]
    pointers = {owner: str(version) for (owner, _), version in there.pointers().items()}
    assert pointers.keys() == {"1", "bob", None, "2", "dave"}
    assert pointers["2"] == pointers["dave"] == pointers[None] == shared["program_id"]


def test_users_that_are_not_mapped_can_be_refused(there: Side) -> None:
    put(there.storage, bundle_of(an_entry(user_id=None), an_entry(), an_entry(user_id="bob")))

    with pytest.raises(Refused, match=r"^bundle, line 4: user_id: users does not map this user"):
        there.import_(users={"ada": "1"}, only_mapped=True)
    assert there.is_empty()

    there.import_(users={"ada": "1", "bob": "bob"}, only_mapped=True)
    assert owners(there) == ["1", None, "bob"]


def test_a_shared_version_used_by_a_user_who_is_not_mapped_is_refused(there: Side) -> None:
    put(there.storage, bundle_of(an_entry(user_id=None, used_by=["ada", "bob"])))

    with pytest.raises(Refused, match=r"^bundle, line 2: used_by: users does not map this user"):
        there.import_(users={"ada": "1"}, only_mapped=True)


def test_users_can_become_one_unless_both_have_a_version_in_use(there: Side) -> None:
    put(there.storage, bundle_of(an_entry(active=True), an_entry(user_id="bob", active=True)))
    both = {"ada": "1", "bob": "1"}

    with pytest.raises(Refused, match="users maps two users to one who cannot have both"):
        there.import_(users=both, activate=True)
    assert there.is_empty()

    there.import_(users=both)
    assert owners(there) == ["1", "1"]


def test_renamed_twice_otherwise_is_refused_and_the_same_way_unchanged(there: Side) -> None:
    put(there.storage, bundle_of(an_entry()))
    there.import_(users={"ada": "1"})

    assert there.import_(users={"ada": "1"}).unchanged == 1
    with pytest.raises(Refused, match="exists with another user_id; versions never change"):
        there.import_(users={"ada": "2"})


@pytest.mark.parametrize("users", [{"ada": None}, {None: "ada"}, {"ada": ""}, {"ada": "\x1fx"}])
def test_nobody_is_mapped_to_or_from_the_shared_base(users: Any) -> None:
    with pytest.raises(ValidationError):
        exports.ImportPrograms(url=FILE, users=users)


def test_a_dry_run_tells_what_would_be_imported_and_writes_nothing(there: Side) -> None:
    known = an_entry()
    put(there.storage, bundle_of(known))
    there.import_()
    before = there.versions()
    put(there.storage, bundle_of(known, an_entry(user_id="bob", active=True)))

    tried = there.import_(activate=True, dry_run=True)

    assert (there.versions(), there.pointers()) == (before, {})
    done = there.import_(activate=True)
    assert done == tried.model_copy(update={"dry_run": False})
    assert (done.imported, done.unchanged, done.activated) == (1, 1, 1)
    put(there.storage, bundle_of({**known, "score": 0.75}))
    with pytest.raises(Refused, match="exists with another score"):
        there.import_(dry_run=True)


def test_parents_may_lie_elsewhere(there: Side) -> None:
    parent = str(uuid7())
    put(there.storage, bundle_of(an_entry(parent_id=parent)))

    there.import_()

    assert [str(row["parent_id"]) for row in there.versions()] == [parent]


def test_checkpoints_go_out_only_when_asked_for(here: Side, there: Side) -> None:
    plain = here.save()
    entry = an_entry(checkpoint="half-way", checkpoint_of=str(uuid7()))
    put(here.storage, bundle_of(entry))
    here.import_()
    (checkpoint,) = [row for row in here.versions() if row["checkpoint"]]

    assert here.export(name=FILE).count == 1
    assert here.export(name=FILE, program_ids=[checkpoint["id"], plain.program_id]).count == 2
    assert here.export(name=FILE, checkpoints=True).count == 2
    there.import_()
    assert there.versions() == here.versions()


def read_by_others(file: Path) -> list[dict[str, Any]]:
    """Read a bundle as somebody does who knows only what the documents say of a program."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    return [one for one in documents if "program_id" in one]


def test_other_tools_find_what_they_look_for(here: Side, there: Side) -> None:
    best = here.save(score=0.875, optimizer="MIPROv2", metadata={"examples_count": 40})
    own = {"best_score_value": 0.1, "optimizer": "mine"}
    here.save(score=0.5, optimizer="MIPROv2", optimization_result=own, metadata=own)
    here.save()
    here.export(name=FILE)

    programs = {one["program_id"]: one for one in read_by_others(here.storage / FILE)}
    found = programs[str(best.program_id)]
    ranked = sorted(
        programs.values(), key=lambda one: one["optimization_result"].get("best_score_value", 0)
    )

    assert found == ranked[-1]
    assert found.keys() >= {
        "program_id", "saved_at", "program_data", "optimization_result", "metadata",
    }  # fmt: skip
    assert found["optimization_result"] == {"best_score_value": 0.875}
    assert found["metadata"]["optimizer"] == "MIPROv2"
    assert found["metadata"]["examples_count"] == 40
    assert found["metadata"]["signature_class"] == here.versions()[0]["signature"]
    assert found["program_data"] == tame_state()
    assert [one["optimization_result"].get("best_score_value") for one in ranked] == [
        None, 0.1, 0.875,
    ]  # fmt: skip
    assert [one["metadata"].get("optimizer") for one in ranked] == [None, "mine", "MIPROv2"]
    there.import_()
    assert there.versions() == here.versions()


def test_a_name_that_is_taken_is_refused_and_what_lies_there_stays(here: Side) -> None:
    here.save()
    here.export(name=FILE)
    before = (here.storage / FILE).read_bytes()
    here.save()

    with pytest.raises(Refused, match=r"there is a file at .*give another name, or overwrite=True"):
        here.export(name=FILE, overwrite=False)
    assert (here.storage / FILE).read_bytes() == before
    (here.storage / "notes.txt").write_text("not a bundle")
    with pytest.raises(Refused, match="there is a file at"):
        here.export(name="notes.txt", overwrite=False)

    assert here.export(name=FILE, overwrite=True).count == 2
    assert sorted(file.name for file in here.storage.iterdir()) == [FILE, "notes.txt"]


def test_a_name_that_is_taken_meanwhile_is_refused(here: Side) -> None:
    here.save()

    def take(_: Progress) -> None:
        (here.storage / FILE).write_text("mine")

    payload = exports.ExportPrograms(name=FILE)
    with pytest.raises(Refused, match="there is a file at"):
        here.runner.run(here.bundles.export(payload, take))
    assert [file.name for file in here.storage.iterdir()] == [FILE]
    assert (here.storage / FILE).read_text() == "mine"


def test_an_export_whose_answer_was_lost_replaces_its_own_file(
    here: Side, there: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file had its name when the worker died, and the transaction was not committed."""
    here.save()
    payload = exports.ExportPrograms(name=FILE)
    here.runner.run(here.bundles.export(payload))

    again = there.runner.run(there.bundles.export(payload))

    assert again.count == 0
    assert len(list(here.storage.iterdir())) == 1


def test_both_tell_how_far_they_are(here: Side) -> None:
    for _ in range(3):
        here.save()
    told: list[tuple[str, int, int | None]] = []

    def tell(progress: Progress) -> None:
        told.append((progress.step, progress.done, progress.total))

    here.runner.run(here.bundles.export(exports.ExportPrograms(name=FILE), tell))
    here.runner.run(here.bundles.import_(exports.ImportPrograms(url=FILE), tell))

    assert told == [("exporting", 3, 3), ("checking", 3, 3), ("importing", 3, 3)]


def test_more_versions_than_a_bundle_holds_are_refused_at_once(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bespoke_workers.programs.bundle_encoding.COUNT_LIMIT", 1)
    for _ in range(2):
        here.save(program=NAME)

    with pytest.raises(Refused, match="2 versions are selected, and a bundle holds 1; export fewe"):
        here.export(name=FILE)
    assert len(here.rows(ProgramVersion)) == 2
    assert list(here.storage.iterdir()) == []
