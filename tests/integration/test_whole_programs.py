"""A program saved with its code is loaded only where that is allowed, and as it was written."""

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from bespoke_schemas import ids, programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import WholeProgram
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.observe import events
from bespoke_workers.programs import registry, sealing
from bespoke_workers.programs.library import Library
from bespoke_workers.programs.whole import WholePrograms
from bespoke_workers.settings import Settings
from examples.support_desk.standin_lm import StandinLM
from tests import traps
from tests.hybrid_program import NAME, OWN, SHARED, same_label, worded
from tests.traps import KEY, Exploit

SIGNING_KEY = "k" * 32
MODULES = ("tests.hybrid_program",)


class Desk:
    """One installation, whose programs can be saved whole."""

    def __init__(self, url: str, root: Path, runner: asyncio.Runner) -> None:
        self.url, self.root, self.runner = url, root, runner
        self.database = Database(url, pool_size=4)
        self.files = root / "storage"

    def whole(self, **changes: Any) -> WholePrograms:
        options = {
            "storage_url": self.files.as_uri(),
            "programs": MODULES,
            "signing_key": SecretStr(SIGNING_KEY),
            "allow_whole_programs": True,
            "lm_api_key": SecretStr(KEY),
            **changes,
        }
        settings = Settings(home=self.root, **options)
        return WholePrograms(self.database, settings, Library(self.database, settings))

    def teach(self, words: str, user_id: str | None = "ada") -> programs.Saved:
        library = Library(self.database, Settings(home=self.root, programs=MODULES))
        payload = programs.Save(program=NAME, user_id=user_id, state=worded(words), activate=True)
        return self.runner.run(library.save(payload))

    def save(self, **changes: Any) -> programs.SavedWhole:
        payload = programs.SaveWhole(**{"program": NAME, "user_id": "ada", **changes})
        return self.runner.run(self.whole().save(payload))

    def load(self, whole_id: Any, user_id: str | None = "ada", **changes: Any) -> Any:
        return self.runner.run(self.whole(**changes).load(whole_id, user_id))

    def file(self, saved: programs.SavedWhole, user_id: str = "ada") -> Path:
        folder = self.files / "whole-programs" / events.hashed(user_id)
        return folder / f"{saved.whole_id}.pkl"

    def rows(self) -> list[WholeProgram]:
        async def read() -> list[WholeProgram]:
            async with self.database.transaction() as session:
                return list(await session.exec(select(WholeProgram).order_by(col(WholeProgram.id))))

        return self.runner.run(read())

    def change(self, saved: programs.SavedWhole, **values: Any) -> None:
        """Change a row as somebody with the database's password could."""

        async def write() -> None:
            async with self.database.transaction() as session:
                row = await session.get_one(WholeProgram, saved.whole_id)
                for name, value in values.items():
                    setattr(row, name, value)
                session.add(row)

        self.runner.run(write())


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        desk = Desk(database_url, tmp_path, runner)
        yield desk
        runner.run(desk.database.close())


def words(module: Any) -> dict[str, str]:
    return {name: each.signature.instructions for name, each in module.named_predictors()}


def test_what_a_user_has_in_use_is_saved_and_loaded_whole(desk: Desk) -> None:
    desk.teach("base", user_id=None)
    version = desk.teach("ada's")

    saved = desk.save()
    module = desk.load(saved.whole_id)

    assert saved.program_id == version.program_id
    assert saved.url == desk.file(saved).as_uri()
    assert saved.size_bytes == desk.file(saved).stat().st_size
    assert words(module) == {SHARED: "base", OWN: "ada's"}
    with StandinLM() as lm:
        model = dspy.LM("openai/x", api_base=lm.url, api_key=KEY, cache=False, num_retries=0)
        with dspy.context(lm=model):
            assert module(text="where is my invoice").label
        assert lm.calls == 2


def test_a_certain_version_and_the_shared_base_and_the_plain_program_can_be_saved(
    desk: Desk,
) -> None:
    plain = desk.save()
    first, _ = desk.teach("first"), desk.teach("second")
    desk.teach("base", user_id=None)

    assert plain.program_id is None
    assert set(words(desk.load(plain.whole_id)).values()).isdisjoint({"first", "base"})
    older = desk.save(program_id=first.program_id)
    assert words(desk.load(older.whole_id)) == {SHARED: "base", OWN: "first"}
    shared = desk.save(user_id=None)
    assert set(words(desk.load(shared.whole_id, None)).values()) == {"base"}
    with pytest.raises(Refused, match="no version"):
        desk.save(user_id="bob", program_id=first.program_id)


def test_it_is_loaded_where_the_application_s_module_is_not_there(desk: Desk) -> None:
    desk.teach("ada's")
    saved = desk.save()
    code = (
        "import sys; from uuid import UUID; from bespoke_workers.programs import load_whole;"
        f"module = load_whole(UUID('{saved.whole_id}'), 'ada');"
        "print(type(module).__name__, 'tests.hybrid_program' in sys.modules,"
        " module.label.predict.signature.instructions)"
    )
    environment = {
        **os.environ,
        "BESPOKE_DATABASE_URL": desk.url,
        "BESPOKE_HOME": str(desk.root),
        "BESPOKE_SIGNING_KEY": SIGNING_KEY,
        "BESPOKE_ALLOW_WHOLE_PROGRAMS": "true",
    }

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, env=environment, cwd=desk.root,
    )  # fmt: skip

    assert done.stdout == "Desk False ada's\n", done.stderr


def test_saved_twice_by_one_job_it_is_there_once(desk: Desk) -> None:
    payload = programs.SaveWhole(program=NAME, user_id="ada")
    whole = desk.whole()

    async def deliver() -> list[programs.SavedWhole]:
        return await asyncio.gather(*(whole.save(payload) for _ in range(4)))

    answers = desk.runner.run(deliver())

    assert all(answer == answers[0] for answer in answers)
    assert len(desk.rows()) == 1
    assert [path.name for path in desk.files.rglob("*.*")] == [f"{payload.id}.pkl"]
    desk.load(payload.id)


def test_deleted_it_is_gone_and_only_its_user_can_delete_it(desk: Desk) -> None:
    saved = desk.save()

    def delete(user_id: str) -> bool:
        payload = programs.DeleteWhole(whole_id=saved.whole_id, user_id=user_id)
        return desk.runner.run(desk.whole().delete(payload)).deleted

    assert not delete("bob")
    assert desk.file(saved).exists()
    assert delete("ada")
    assert not desk.file(saved).exists()
    assert desk.rows() == []
    assert not delete("ada")


def test_a_user_s_are_listed_newest_first(desk: Desk) -> None:
    version = desk.teach("ada's")
    base = desk.teach("base", user_id=None)
    first, second = desk.save(), desk.save()
    desk.save(user_id="bob")
    shared = desk.save(user_id=None)

    def listed(**query: Any) -> programs.ListedWhole:
        return desk.runner.run(desk.whole().list(programs.ListWhole(**query)))

    ada = listed(user_id="ada")
    assert [each.whole_id for each in ada.whole] == [second.whole_id, first.whole_id]
    assert (ada.whole[0].program_id, ada.whole[0].base_id) == (version.program_id, base.program_id)
    assert ada.whole[0].size_bytes == second.size_bytes
    newest = listed(user_id="ada", program=NAME, limit=1)
    assert (len(newest.whole), newest.total) == (1, 2)
    assert listed(user_id="ada", program="another").total == 0
    assert [each.whole_id for each in listed().whole] == [shared.whole_id]


def test_without_the_settings_none_is_saved_or_loaded(desk: Desk) -> None:
    saved = desk.save()
    payload = programs.SaveWhole(program=NAME, user_id="ada")

    with pytest.raises(Misconfigured, match="BESPOKE_ALLOW_WHOLE_PROGRAMS is not set"):
        desk.load(saved.whole_id, allow_whole_programs=False)
    with pytest.raises(Misconfigured, match="BESPOKE_SIGNING_KEY is not set"):
        desk.load(saved.whole_id, signing_key=None)
    with pytest.raises(Misconfigured, match="BESPOKE_SIGNING_KEY is not set"):
        desk.runner.run(desk.whole(signing_key=None).save(payload))


def test_it_is_loaded_for_nobody_else(desk: Desk) -> None:
    saved = desk.save()

    for user_id in ("bob", None):
        with pytest.raises(Refused, match="no whole program"):
            desk.load(saved.whole_id, user_id)
    with pytest.raises(Refused, match="no whole program"):
        desk.load(ids.uuid7())


Attack = Callable[[Desk, programs.SavedWhole, bytes], None]
"""Brings a pickle into the place of ada's program, without the signing key."""


def replaced(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(hostile)


def altered(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    content = desk.file(saved).read_bytes()
    # Before the end of the program, so that the hostile part would run first.
    desk.file(saved).write_bytes(hostile[:-1] + b"0" + content[2:])


def of_the_same_size(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    size = desk.file(saved).stat().st_size
    desk.file(saved).write_bytes(hostile.ljust(size, b"."))


def truncated(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(desk.file(saved).read_bytes()[:-1])


def swapped(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(desk.file(desk.save()).read_bytes())


def renamed(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    """Another user's program, with its seal, under ada's name."""
    theirs = desk.save(user_id="bob")
    desk.file(saved).write_bytes(desk.file(theirs, "bob").read_bytes())
    row = next(row for row in desk.rows() if row.id == theirs.whole_id)
    desk.change(saved, seal=row.seal, size_bytes=row.size_bytes)


def signed_with_another_key(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(hostile)
    (row,) = desk.rows()
    desk.change(saved, seal=sealing.seal(row, hostile, b"another key" * 3))


def unsigned(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(hostile)
    desk.change(saved, seal="")


def of_another_program(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.change(saved, program="another")


def of_another_version(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.change(saved, version_id=ids.uuid7())


def of_other_releases(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.change(saved, versions={"dspy": "3.4.0", "python": "3.11.0"})


@pytest.mark.parametrize(
    "attack",
    [
        replaced, altered, of_the_same_size, truncated, swapped, renamed,
        signed_with_another_key, unsigned, of_another_program, of_another_version,
        of_other_releases,
    ],
)  # fmt: skip
def test_what_this_system_did_not_write_is_refused_before_anything_is_unpickled(
    desk: Desk, tmp_path: Path, attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "written by a pickle"
    desk.teach("ada's")
    saved = desk.save()
    attack(desk, saved, pickle.dumps(Exploit(written)))

    with pytest.raises(Refused) as refused:
        desk.load(saved.whole_id)

    assert str(refused.value) == (
        f"the whole program {saved.whole_id} is not as this system wrote it, or was signed with "
        "another BESPOKE_SIGNING_KEY; it was not loaded: save it again"
    )
    assert not written.exists()


def test_such_a_pickle_would_have_run(desk: Desk, tmp_path: Path) -> None:
    written, saved = tmp_path / "written by a pickle", desk.save()
    hostile = pickle.dumps(Exploit(written))
    (row,) = desk.rows()
    desk.file(saved).write_bytes(hostile)
    desk.change(saved, seal=sealing.seal(row, hostile, SIGNING_KEY.encode()))

    with pytest.raises(Refused, match=r"no dspy\.Module"):
        desk.load(saved.whole_id)

    assert written.exists()


def test_a_file_that_is_not_there_or_was_signed_before_the_key_changed_is_refused(
    desk: Desk,
) -> None:
    saved = desk.save()

    with pytest.raises(Refused, match="signed with another BESPOKE_SIGNING_KEY"):
        desk.load(saved.whole_id, signing_key=SecretStr("n" * 32))
    desk.file(saved).unlink()
    with pytest.raises(Refused, match="no whole program at"):
        desk.load(saved.whole_id)


def test_another_python_or_dspy_is_named(desk: Desk) -> None:
    saved = desk.save()
    (row,) = desk.rows()
    row.versions = {**row.versions, "python": "3.9.1"}
    seal = sealing.seal(row, desk.file(saved).read_bytes(), SIGNING_KEY.encode())
    desk.change(saved, versions=row.versions, seal=seal)

    with pytest.raises(Refused, match=r"was saved under python 3\.9\.1, and this is 3\."):
        desk.load(saved.whole_id)


class Laden(dspy.Module):  # type: ignore[misc]  # dspy has no types
    """A program with a language model in odd places."""

    def __init__(self) -> None:
        super().__init__()
        self.label = dspy.Predict("text -> label", api_key=traps.KEY, headers={"x": traps.KEY}, n=1)
        self.label.lm = dspy.LM("openai/x", api_key=traps.KEY)
        self.models = {"own": dspy.LM("openai/x", api_key=traps.KEY, headers={"x": traps.KEY})}
        self.setup()

    def setup(self) -> None:
        """Add what a test is about."""


def test_language_models_and_keys_stay_behind(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.program("laden", inputs=["text"], metric=same_label)(Laden)

    saved = desk.save(program="laden")
    module = desk.load(saved.whole_id)

    assert KEY.encode() not in desk.file(saved).read_bytes()
    assert (module.label.lm, module.models, module.label.config) == (None, {"own": None}, {"n": 1})


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (KEY, "the program holds BESPOKE_LM_API_KEY beside its language model"),
        (open, None),
        (sys._getframe(), "cannot be saved whole: pickling it raised TypeError"),
    ],
    ids=["a key", "a function", "a frame"],
)
def test_a_program_that_cannot_be_saved_whole_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, attribute: Any, message: str | None
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.program("laden", inputs=["text"], metric=same_label)(Laden)
    monkeypatch.setattr(Laden, "setup", lambda self: setattr(self, "odd", attribute))

    if message is None:
        desk.load(desk.save(program="laden").whole_id)
        return
    with pytest.raises(Refused, match=message):
        desk.save(program="laden")
    assert desk.rows() == []
    assert list(desk.files.rglob("*.pkl*")) == []
