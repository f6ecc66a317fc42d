"""A program saved with its code is loaded only where that is allowed, and as it was written."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

from bespoke_schemas import ids, programs
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.programs import registry
from examples.support_desk.standin_lm import StandinLM
from tests import traps
from tests.hybrid_program import NAME, OWN, SHARED, same_label
from tests.integration.whole_desk import SIGNING_KEY, Desk, opened
from tests.nodes.waiting import SECONDS
from tests.traps import KEY


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    with opened(database_url, tmp_path) as desk:
        yield desk


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
        capture_output=True, text=True, timeout=SECONDS, env=environment, cwd=desk.root,
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
        (KEY, "the program holds BESPOKE_LM_API_KEY in an attribute"),
        ({"of": [SIGNING_KEY]}, "the program holds BESPOKE_SIGNING_KEY in an attribute"),
        (open, None),
        (sys._getframe(), "cannot be saved whole: pickling it raised TypeError"),
    ],
    ids=["a key", "a signing key", "a function", "a frame"],
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
