"""Versions are saved once, loaded by whom they concern, and one of them is in use."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import select

from bespoke_schemas import ids, programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import ActiveProgram, Job, ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.observe import events
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings
from tests.two_predictors import NAME, TRAP, hostile_state, tame_state

Seen = list[dict[str, Any]]


@pytest.fixture
def database(database_url: str, runner: asyncio.Runner) -> Iterator[Database]:
    database = Database(database_url, pool_size=8)
    yield database
    runner.run(database.close())


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    return Library(database, Settings(home=tmp_path, programs=("tests.two_predictors",)))


@pytest.fixture
def seen() -> Iterator[Seen]:
    """The storage's events, in order."""
    told: Seen = []
    end = events.subscribe("dspy.storage.*", lambda event: told.append(dict(event)))
    yield told
    end()


def a_save(**changes: Any) -> programs.Save:
    return programs.Save(**{"program": NAME, "user_id": "ada", "state": tame_state(), **changes})


async def rows(database: Database, table: Any) -> list[Any]:
    async with database.transaction() as session:
        return list(await session.exec(select(table)))


def test_what_is_saved_is_what_is_loaded(runner: asyncio.Runner, library: Library) -> None:
    parent = ids.uuid7()
    payload = a_save(
        optimizer="MIPROv2",
        score=0.75,
        optimization_result={"trials": 7, "cost": 0.001},
        tags=["night", "v2"],
        description="the first",
        metadata={"by": "batch"},
        parent_id=parent,
    )

    saved = runner.run(library.save(payload))
    version = runner.run(library.load(programs.Load(program_id=payload.id))).version

    assert saved.program_id == payload.id
    assert not saved.active
    assert version is not None
    assert version.saved_at == saved.saved_at
    assert version.state == tame_state()
    assert (version.user_id, version.program, version.optimizer) == ("ada", NAME, "MIPROv2")
    assert (version.score, version.tags, version.parent_id) == (0.75, ("night", "v2"), parent)
    assert version.optimization_result == {"trials": 7, "cost": 0.001}
    assert version.description == "the first"
    assert version.metadata["by"] == "batch"
    assert set(version.metadata["versions"]) == {"dspy", "python"}  # type: ignore[arg-type]  # JSON
    assert version.signature.startswith("classify: text -> label; explain.predict: ")
    assert version.fingerprint.startswith("classify(text: str -> label: str); ")
    assert version.size_bytes == len(json.dumps(tame_state(), separators=(",", ":")))


def test_nothing_hostile_is_stored(
    runner: asyncio.Runner, library: Library, database: Database
) -> None:
    runner.run(library.save(a_save(state=hostile_state())))

    (row,) = runner.run(rows(database, ProgramVersion))
    assert row.state == tame_state()
    assert TRAP not in row.model_dump_json()


def test_what_was_planted_in_the_database_is_not_loaded_into_a_module(
    runner: asyncio.Runner, library: Library, database: Database
) -> None:
    runner.run(library.save(a_save()))
    (row,) = runner.run(rows(database, ProgramVersion))
    row.state = hostile_state()

    module = library.module_for(NAME, row)

    assert TRAP not in json.dumps(module.dump_state())
    assert module.classify.lm is None
    assert module.classify.demos[0]["text"] == "card lost"
    assert library.module_for(NAME, None).classify.demos == []


def test_a_state_that_does_not_fit_is_refused_and_leaves_nothing(
    runner: asyncio.Runner, library: Library, database: Database, seen: Seen
) -> None:
    unfit = tame_state()
    del unfit["classify"]

    for payload, message in [
        (a_save(program="unknown"), r"unknown program 'unknown'; registered: \[.*'triage'.*\]"),
        (a_save(state=unfit), r"lacks predictors \['classify'\]"),
        (a_save(state={"classify": {"demos": 1, "signature": {}}}), "expected a list"),
    ]:
        with pytest.raises(Refused, match=message):
            runner.run(library.save(payload))

    assert runner.run(rows(database, ProgramVersion)) == []
    assert runner.run(rows(database, Job)) == []
    assert [event["event"].rpartition(".")[2] for event in seen] == ["save_start", "save_error"] * 3
    assert {event["error"] for event in seen[1::2]} == {"Refused"}
    assert seen[0]["user"] == events.hashed("ada")


def test_a_save_delivered_many_times_at_once_is_one_version(
    runner: asyncio.Runner, library: Library, database: Database, seen: Seen
) -> None:
    payload = a_save(activate=True)

    async def deliver() -> list[programs.Saved]:
        return await asyncio.gather(*(library.save(payload) for _ in range(6)))

    answers = runner.run(deliver())

    assert all(answer == answers[0] for answer in answers)
    assert len(runner.run(rows(database, ProgramVersion))) == 1
    (pointer,) = runner.run(rows(database, ActiveProgram))
    assert (pointer.version_id, pointer.generation) == (payload.id, 1)
    assert [event["event"].rpartition(".")[2] for event in seen] == ["save_start", "save_complete"]


def test_an_id_is_never_given_to_a_second_version(
    runner: asyncio.Runner, library: Library, database: Database
) -> None:
    taken = a_save()

    async def as_an_import_does() -> None:
        async with database.transaction() as session:
            await library.save_version(
                session,
                version_id=taken.id,
                user_id="ada",
                program=NAME,
                state=tame_state(),
                optimizer=None,
                score=None,
                optimization_result={},
                parent_id=None,
            )

    runner.run(as_an_import_does())

    with pytest.raises(Refused, match="versions never change"):
        runner.run(library.save(taken))


def test_a_missing_version_is_an_answer(
    runner: asyncio.Runner, library: Library, seen: Seen
) -> None:
    assert runner.run(library.load(programs.Load(program_id=ids.uuid7()))).version is None
    assert runner.run(library.load_active(programs.LoadActive(program=NAME))).version is None
    assert runner.run(library.best(programs.Best(program=NAME))).version is None
    assert [event.get("found") for event in seen] == [None, False] * 3


def load(library: Library, runner: asyncio.Runner, version: UUID, user_id: str | None) -> bool:
    answer = runner.run(library.load(programs.Load(program_id=version, user_id=user_id)))
    return answer.version is not None


def test_a_user_sees_that_user_s_versions_and_the_shared_ones(
    runner: asyncio.Runner, library: Library
) -> None:
    own, shared = a_save(), a_save(user_id=None)
    for payload in (own, shared):
        runner.run(library.save(payload))

    assert load(library, runner, own.id, "ada")
    assert load(library, runner, shared.id, "ada")
    assert load(library, runner, shared.id, "bob")
    assert not load(library, runner, own.id, "bob")
    assert load(library, runner, own.id, None)


def active(library: Library, runner: asyncio.Runner, user_id: str | None) -> UUID | None:
    answer = runner.run(library.load_active(programs.LoadActive(program=NAME, user_id=user_id)))
    return answer.version.program_id if answer.version else None


def test_the_version_in_use_is_the_user_s_else_the_shared_one(
    runner: asyncio.Runner, library: Library, database: Database
) -> None:
    shared, own, newer = (
        a_save(user_id=None, activate=True),
        a_save(activate=True),
        a_save(activate=True),
    )

    runner.run(library.save(shared))
    assert [active(library, runner, user) for user in ("ada", "bob", None)] == [shared.id] * 3

    runner.run(library.save(own))
    runner.run(library.save(a_save()))
    assert [active(library, runner, user) for user in ("ada", "bob", None)] == [
        own.id, shared.id, shared.id,
    ]  # fmt: skip

    runner.run(library.save(newer))
    assert active(library, runner, "ada") == newer.id
    pointers = runner.run(rows(database, ActiveProgram))
    assert {(each.user_id, each.generation) for each in pointers} == {(None, 1), ("ada", 2)}


def test_a_version_of_another_user_or_program_is_never_put_into_use(
    runner: asyncio.Runner, library: Library, database: Database
) -> None:
    own = a_save()
    runner.run(library.save(own))

    async def activate(user_id: str | None, program: str, version_id: UUID) -> None:
        async with database.transaction() as session:
            await library.activate(session, user_id, program, version_id, reason="activated")

    for target in [("bob", NAME, own.id), ("ada", "other", own.id), ("ada", NAME, ids.uuid7())]:
        with pytest.raises(Refused, match="no version"):
            runner.run(activate(*target))
    with pytest.raises(Refused, match="no version"):
        runner.run(activate(None, NAME, own.id))

    runner.run(activate("ada", NAME, own.id))
    runner.run(activate("ada", NAME, own.id))
    (pointer,) = runner.run(rows(database, ActiveProgram))
    assert (pointer.user_id, pointer.generation) == ("ada", 1)


def best(library: Library, runner: asyncio.Runner, **query: Any) -> str | None:
    answer = runner.run(library.best(programs.Best(**query)))
    return answer.version.description if answer.version else None


def test_the_best_has_the_highest_score_and_is_the_newest_of_equals(
    runner: asyncio.Runner, library: Library
) -> None:
    for description, user_id, score in [
        ("low", "ada", 0.2),
        ("high, old", "ada", 0.9),
        ("high, new", "ada", 0.9),
        ("never scored", "ada", None),
        ("bob's", "bob", 1.0),
        ("shared", None, 0.5),
    ]:
        runner.run(library.save(a_save(description=description, user_id=user_id, score=score)))
    signature = "classify: text -> label; explain.predict: text, label -> reasoning, reason"

    assert best(library, runner, program=NAME, user_id="ada") == "high, new"
    assert best(library, runner, signature=signature, user_id="ada") == "high, new"
    assert best(library, runner, signature=signature, program=NAME) == "shared"
    assert best(library, runner, signature="text -> label", user_id="ada") is None
    assert best(library, runner, program=NAME, user_id="carol") is None
    with pytest.raises(Refused, match="give a program or a signature"):
        best(library, runner, user_id="ada")


def test_events_tell_size_and_age_and_neither_user_nor_contents(
    runner: asyncio.Runner, library: Library, seen: Seen
) -> None:
    payload = a_save()
    runner.run(library.save(payload))
    runner.run(library.load(programs.Load(program_id=payload.id, user_id="ada")))

    assert [event["event"].rpartition(".")[2] for event in seen] == [
        "save_start", "save_complete", "load_start", "load_complete",
    ]  # fmt: skip
    assert seen[1]["size_bytes"] > 0
    assert 0 <= seen[3]["age_s"] < 60
    assert seen[3]["size_bytes"] == seen[1]["size_bytes"]
    assert {event.get("program") for event in seen} == {NAME, None}
    assert not re.search(r"\bada\b|card lost", str(seen))
