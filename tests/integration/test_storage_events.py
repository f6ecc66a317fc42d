"""The library's events: each change is told once, however often its job comes, and no contents."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas import Payload, exports, programs
from bespoke_workers.errors import Refused
from bespoke_workers.observe import events
from bespoke_workers.runtime import Runtime
from bespoke_workers.settings import Settings
from tests.integration.optimizing import RecordingOutbox
from tests.two_predictors import NAME, tame_state

SECRET = "my-secret-diagnosis"
USER = {"user": events.hashed("ada")}

Told = list[dict[str, Any]]


@pytest.fixture
def this(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    settings = Settings(
        database_url=database_url, home=tmp_path, programs=("tests.two_predictors",)
    )
    runtime = Runtime(settings, RecordingOutbox())
    yield runtime
    runtime.close()


@pytest.fixture
def told() -> Iterator[Told]:
    seen: Told = []

    def note(event: events.Event) -> None:
        seen.append({**event, "event": event["event"].removeprefix("dspy.storage.")})

    end = events.subscribe("dspy.storage.*", note)
    yield seen
    end()


def a_save(**changes: Any) -> programs.Save:
    facts = {"program": NAME, "user_id": "ada", "state": tame_state(SECRET), **changes}
    return programs.Save(**facts)


def twice(this: Runtime, service: Any, payload: Payload[Any]) -> Any:
    """Deliver a job, and deliver it again; both get the same answer."""
    answers = [this.run(service(payload)) for _ in range(2)]
    assert answers[0] == answers[1]
    return answers[0]


def test_what_changes_something_is_told_once_however_often_it_is_delivered(
    this: Runtime, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    saving = a_save(description=SECRET, tags=[SECRET], metadata={"note": SECRET})
    whose = {"program": NAME, "program_id": str(saving.id), **USER}

    twice(this, this.programs.save, saving)
    version = this.run(this.programs.load(programs.Load(program_id=saving.id))).version
    assert version is not None
    size = {"size_bytes": version.size_bytes}
    assert told[:2] == [
        {"event": "save_start", **whose},
        {"event": "save_complete", **whose, "optimizer": None, "score": None, **size},
    ]
    assert len(told) == 4  # and the load's two
    told.clear()

    written = twice(this, this.bundles.export, exports.ExportPrograms(name="all.jsonl.gz"))
    twice(this, this.bundles.import_, exports.ImportPrograms(url=written.url))
    exported, imported = told
    assert exported.pop("seconds") > 0
    assert imported.pop("seconds") > 0
    assert exported == {"event": "export", "count": 1, "size_bytes": written.size_bytes}
    assert imported == {"event": "import", "imported": 0, "unchanged": 1, "activated": 0}
    told.clear()

    twice(this, this.changing.delete, programs.Delete(program_id=saving.id, user_id="ada"))
    assert told == [{"event": "delete", **USER, "program": NAME, "deleted_count": 1, **size}]
    told.clear()

    for _ in range(3):
        this.run(this.programs.save(a_save(score=0.5)))
    told.clear()
    twice(this, this.cleaning.clean_up, programs.Cleanup(user_id="ada", max_stored_programs=2))
    assert told == [
        {"event": "cleanup", **USER, "deleted_count": 1, "kept_count": 2, **size},
    ]  # fmt: skip
    assert SECRET not in caplog.text


def test_a_load_is_told_each_time_with_size_and_age(this: Runtime, told: Told) -> None:
    saving = a_save(activate=True)
    this.run(this.programs.save(saving))
    told.clear()

    asked = programs.LoadActive(program=NAME, user_id="ada")
    for _ in range(2):
        this.run(this.programs.load_active(asked))

    start, complete = told[:2]
    assert start == {"event": "load_start", "program": NAME, **USER}
    assert 0 <= complete.pop("age_s") < 60
    assert complete.pop("size_bytes") > 0
    assert complete == {
        "event": "load_complete", "found": True, "program": NAME, "program_id": str(saving.id),
        **USER,
    }  # fmt: skip
    assert [event["event"] for event in told] == ["load_start", "load_complete"] * 2


def test_a_failure_is_told_by_its_kind_alone(
    this: Runtime, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    saving = a_save(state={SECRET: {"demos": [], "signature": {"instructions": "", "fields": []}}})
    with pytest.raises(Refused):
        this.run(this.programs.save(saving))

    whose = {"program": NAME, "program_id": str(saving.id), **USER}
    assert told == [
        {"event": "save_start", **whose},
        {"event": "save_error", **whose, "error": "Refused"},
    ]
    assert SECRET not in caplog.text


def test_what_is_not_there_is_not_deleted_and_that_is_not_told(this: Runtime, told: Told) -> None:
    this.run(this.programs.save(a_save()))
    told.clear()
    answer = this.run(this.changing.delete(programs.Delete(program_id=a_save().id, user_id="ada")))
    assert not answer.deleted
    assert told == []
