"""Checkpoints are saved by name, the newest of a name is restored, and none is ever in use."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from bespoke_schemas import ids, programs
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Refused
from bespoke_workers.programs.catalogue import Catalogue
from bespoke_workers.programs.changing import Changing
from bespoke_workers.programs.checkpoints import Checkpoints
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings
from tests.two_predictors import NAME, TRAP, hostile_state, tame_state


class Desk:
    """The services that a worker has, on a loop of the test's own."""

    def __init__(self, url: str, home: Path, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self.database = Database(url, pool_size=8)
        self.library = Library(
            self.database, Settings(home=home, programs=("tests.two_predictors",))
        )
        self.checkpoints = Checkpoints(self.database, self.library)

    def save(self, **changes: Any) -> UUID:
        fields = {"program": NAME, "user_id": "ada", "state": tame_state(), **changes}
        return self.run(self.library.save(programs.Save(**fields))).program_id

    def checkpoint(self, name: str = "before", **changes: Any) -> UUID:
        fields = {"program": NAME, "user_id": "ada", "name": name, **changes}
        if "program_id" not in changes:
            fields.setdefault("state", tame_state())
        return self.run(self.checkpoints.save(programs.Checkpoint(**fields))).program_id

    def restore(self, name: str = "before", **changes: Any) -> programs.Restored:
        fields = {"program": NAME, "user_id": "ada", "name": name, **changes}
        return self.run(self.checkpoints.restore(programs.RestoreCheckpoint(**fields)))

    def served(self) -> programs.Version | None:
        payload = programs.LoadActive(program=NAME, user_id="ada")
        return self.run(self.library.load_active(payload)).version

    def execute(self, statement: str) -> Any:
        async def execute() -> Any:
            async with self.database.autocommit() as connection:
                result = await connection.execute(text(statement))
                return result.scalars().all() if result.returns_rows else None

        return self.run(execute())


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        desk = Desk(database_url, tmp_path, runner)
        yield desk
        desk.run(desk.database.close())


def found(restored: programs.Restored) -> programs.Version:
    assert restored.version is not None
    return restored.version


def test_the_newest_checkpoint_of_a_name_is_restored(desk: Desk) -> None:
    desk.checkpoint(state=tame_state("older"), score=0.9)
    newer = desk.checkpoint(state=tame_state("newer"), score=0.5, metadata={"iteration": 50})
    desk.checkpoint("another")
    desk.checkpoint(user_id="bob")

    version = found(desk.restore())

    assert (version.program_id, version.checkpoint, version.score) == (newer, "before", 0.5)
    assert version.state == tame_state("newer")
    assert version.metadata["iteration"] == 50
    assert desk.served() is None
    assert desk.restore("nothing") == programs.Restored(version=None)
    assert desk.restore(user_id=None).version is None


def test_a_checkpoint_of_a_version_keeps_what_it_was(desk: Desk) -> None:
    shared = desk.save(user_id=None, score=0.7, optimizer="MIPROv2", optimization_result={"a": 1})

    kept = desk.checkpoint(program_id=shared)
    desk.checkpoint("rescored", program_id=shared, score=0.1)

    version = found(desk.restore())
    assert (version.program_id, version.user_id, version.parent_id) == (kept, "ada", shared)
    assert (version.score, version.optimizer) == (0.7, "MIPROv2")
    assert version.optimization_result == {"a": 1}
    assert found(desk.restore("rescored")).score == 0.1


def test_a_state_is_kept_as_far_as_the_whitelist_goes(desk: Desk) -> None:
    desk.checkpoint(state=hostile_state())

    assert found(desk.restore()).state == tame_state()
    assert TRAP not in str(desk.execute("SELECT CAST(program_version AS text)"
                                        " FROM program_version"))  # fmt: skip


def test_a_checkpoint_that_cannot_be_is_refused(desk: Desk) -> None:
    bobs, old = desk.save(user_id="bob"), desk.save()
    desk.execute(f"UPDATE program_version SET fingerprint = 'another' WHERE id = '{old}'")

    refused: list[tuple[dict[str, Any], str]] = [
        ({"program_id": bobs}, "no version"),
        ({"program_id": ids.uuid7()}, "no version"),
        ({"program_id": old}, "another shape"),
        ({"state": {"classify": tame_state()["classify"]}}, "lacks predictors"),
        ({"program": "unknown"}, "unknown program"),
    ]
    for source, message in refused:
        with pytest.raises(Refused, match=message):
            desk.checkpoint(**source)
    for wrong in [{}, {"state": {}, "program_id": old}]:
        with pytest.raises(ValidationError, match="one of the two"):
            programs.Checkpoint.model_validate({"program": NAME, "name": "x", **wrong})


def test_a_checkpoint_is_restored_into_use_as_a_version_of_its_own(desk: Desk) -> None:
    in_use = desk.save(activate=True)
    checkpoint = desk.checkpoint(state=tame_state("kept"), score=0.8)

    restored = desk.restore(activate=True)

    version = found(restored)
    assert restored.active
    assert (version.parent_id, version.checkpoint, version.score) == (checkpoint, None, 0.8)
    assert version.state == tame_state("kept")
    assert version.metadata["restored_from"] == "before"
    assert desk.served() == version
    changing = Changing(desk.database, desk.library)
    back = desk.run(changing.rollback(programs.Rollback(program=NAME, user_id="ada")))
    assert back.program_id == in_use


def test_a_restoration_delivered_many_times_at_once_is_one_version(desk: Desk) -> None:
    desk.checkpoint()
    payload = programs.RestoreCheckpoint(
        program=NAME, user_id="ada", name="before", activate=True
    )  # fmt: skip

    async def deliver() -> list[programs.Restored]:
        return await asyncio.gather(*(desk.checkpoints.restore(payload) for _ in range(5)))

    first, *others = desk.run(deliver())

    assert first.version is not None
    assert first.version.program_id == payload.id
    assert all(other == first for other in others)
    assert desk.execute("SELECT count(*) FROM program_version") == [2]
    assert desk.execute("SELECT generation FROM active_program") == [1]


def test_what_is_recorded_of_a_restoration_holds_no_contents(desk: Desk) -> None:
    desk.checkpoint(state=tame_state("a secret"))
    desk.restore(activate=True)

    assert "secret" not in str(desk.execute("SELECT CAST(job AS text) FROM job"))


def test_one_that_no_longer_fits_is_loaded_and_not_put_into_use(desk: Desk) -> None:
    desk.checkpoint()
    desk.execute("UPDATE program_version SET fingerprint = 'another'")

    assert desk.restore().version is not None
    with pytest.raises(Refused, match="another shape"):
        desk.restore(activate=True)
    assert desk.served() is None


def test_a_checkpoint_is_neither_activated_nor_listed_unasked_and_can_be_deleted(
    desk: Desk,
) -> None:
    checkpoint = desk.checkpoint(score=1.0)
    version = desk.save(score=0.1)
    changing, catalogue = Changing(desk.database, desk.library), Catalogue(desk.database)

    activate = programs.Activate(program=NAME, program_id=checkpoint, user_id="ada")
    with pytest.raises(Refused, match="restore the checkpoint"):
        desk.run(changing.activate(activate))

    best = desk.run(desk.library.best(programs.Best(program=NAME, user_id="ada"))).version
    assert best is not None
    assert best.program_id == version
    listed = desk.run(catalogue.list(programs.List(user_id="ada")))
    assert [each.program_id for each in listed.versions] == [version]
    everything = desk.run(catalogue.list(programs.List(user_id="ada", checkpoints=True)))
    assert {each.checkpoint for each in everything.versions} == {None, "before"}
    assert desk.run(changing.delete(programs.Delete(program_id=checkpoint, user_id="ada"))).deleted
