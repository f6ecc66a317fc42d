"""A cleanup deletes by its rule alone, and never what somebody needs."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bespoke_schemas import ids, programs
from bespoke_workers.errors import Refused
from bespoke_workers.observe import events
from bespoke_workers.programs import pointer
from bespoke_workers.programs.changing import Changing
from bespoke_workers.programs.cleanup import Candidate, surplus
from bespoke_workers.programs.library import Library
from tests.integration.cleaning_desk import NOW, Desk, ids_of, versions
from tests.two_predictors import NAME, tame_state

USERS = count(1)


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        desk = Desk(database_url, tmp_path, runner)
        yield desk
        desk.run(desk.database.close())


# The statement and the function


SCORES = (
    st.none()
    | st.sampled_from([0.0, 0.5, 1.0, -1e308, 1e308, 5e-324, 0.29, 0.1 + 0.2])
    | st.floats(allow_nan=False, allow_infinity=False)
)


SAVED = st.integers(0, 3).map(lambda days: NOW - timedelta(days=days)) | st.datetimes(
    timezones=st.just(UTC)
)


@given(
    drawn=st.lists(st.tuples(SCORES, SAVED, st.booleans()), max_size=14),
    used=st.lists(st.integers(0, 13), max_size=4),
    max_stored=st.integers(1, 8),
)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # each example has a user of its own
def test_the_statement_deletes_what_the_function_says(
    desk: Desk, drawn: list[Any], used: list[int], max_stored: int
) -> None:
    user = f"user-{next(USERS)}"
    rows = [
        {
            "id": ids.uuid7(), "user_id": user, "score": score, "saved_at": saved_at,
            "checkpoint": "one" if is_checkpoint else None,
        }
        for score, saved_at, is_checkpoint in drawn
    ]  # fmt: skip
    desk.write(rows)
    usable = [row["id"] for n, row in enumerate(rows) if n in used and not row["checkpoint"]]
    desk.use(user, *usable)
    protected = set(usable[-2:])  # in use, and what a rollback goes to

    done = desk.clean_up(user_id=user, max_stored_programs=max_stored)

    expected = [
        one.id
        for is_checkpoint in (None, "one")
        for one in surplus(
            [
                Candidate(row["id"], row["score"], row["saved_at"], row["id"] in protected)
                for row in rows
                if row["checkpoint"] == is_checkpoint
            ],
            max_stored,
        )
    ]
    assert list(done.program_ids) == expected
    assert desk.there(user) == set(ids_of(rows)) - set(expected)


# What is protected


def test_what_anybody_uses_or_would_roll_back_to_is_kept(desk: Desk) -> None:
    shared = versions(8, user_id=None)
    desk.write(shared)
    *_, third, second, first = ids_of(shared)
    desk.use("bob", third, second, first, second)
    desk.use(None, shared[1]["id"])

    done = desk.clean_up(shared=True, max_stored_programs=1)

    assert desk.there(None) == {shared[0]["id"], shared[1]["id"], second, first}
    assert (done.deleted_count, done.kept_count, done.size_bytes) == (4, 4, 40)
    assert third not in desk.there(None)


def test_a_version_that_was_rolled_back_is_not_kept_for_that(desk: Desk, tmp_path: Path) -> None:
    async def rolled_back() -> tuple[UUID, UUID]:
        library = Library(desk.database, desk.settings)
        saves = [
            programs.Save(program=NAME, user_id="ada", state=tame_state(), activate=True)
            for _ in range(2)
        ]
        for save in saves:
            await library.save(save)
        changing = Changing(desk.database, library)
        await changing.rollback(programs.Rollback(program=NAME, user_id="ada"))
        return saves[0].id, saves[1].id

    kept, undone = desk.run(rolled_back())
    desk.clean_up(user_id="ada", max_stored_programs=1)

    assert desk.there() == {kept}
    assert undone != kept


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed"])
def test_checkpoints_of_a_job_that_has_not_ended_are_kept(desk: Desk, state: str) -> None:
    job_id = desk.begin_job(state)
    checkpoints = versions(5, checkpoint="auto", checkpoint_of=job_id)
    desk.write(checkpoints)

    desk.clean_up(user_id="ada", max_stored_programs=2)

    left = ids_of(checkpoints) if state in {"queued", "running"} else ids_of(checkpoints)[:2]
    assert desk.there() == set(left)


def test_checkpoints_and_versions_do_not_count_against_each_other(desk: Desk) -> None:
    kept = [*versions(3), *versions(3, checkpoint="before the night"), *versions(3, program="b")]
    desk.write(kept)

    assert desk.clean_up(user_id="ada", max_stored_programs=3).deleted_count == 0
    assert desk.there() == set(ids_of(kept))


# Whose


def test_only_the_owner_and_the_program_asked_for_are_cleaned_up(desk: Desk) -> None:
    owners = {
        "ada": versions(4), "bob": versions(4, user_id="bob"), None: versions(4, user_id=None)
    }  # fmt: skip
    other = versions(4, program="other")
    for rows in (*owners.values(), other):
        desk.write(rows)

    desk.clean_up(user_id="ada", program=NAME, max_stored_programs=1)

    assert desk.there() == {owners["ada"][0]["id"], *ids_of(other)}
    assert desk.there("bob") == set(ids_of(owners["bob"]))
    assert desk.there(None) == set(ids_of(owners[None]))

    desk.clean_up(shared=True, max_stored_programs=2)
    assert desk.there(None) == set(ids_of(owners[None])[:2])
    assert desk.there("bob") == set(ids_of(owners["bob"]))


def test_the_limit_is_the_setting_s_unless_another_is_given(desk: Desk) -> None:
    desk.write(versions(120))

    assert desk.clean_up(user_id="ada").deleted_count == 20
    assert desk.clean_up(user_id="ada", max_stored_programs=90).deleted_count == 10


def test_a_dry_run_tells_what_would_go_and_deletes_nothing(desk: Desk) -> None:
    rows = versions(6)
    desk.write(rows)
    told: list[Any] = []
    end = events.subscribe("dspy.storage.cleanup", told.append)

    dry = desk.clean_up(user_id="ada", max_stored_programs=2, dry_run=True)
    end()

    assert len(desk.there()) == 6
    assert told == []
    assert dry.dry_run
    wet = desk.clean_up(user_id="ada", max_stored_programs=2)
    assert dry.model_copy(update={"dry_run": False}) == wet
    assert list(wet.program_ids) == ids_of(rows)[:1:-1]


# At the same time


def test_cleaning_up_and_activating_at_once_never_leaves_a_pointer_to_nothing(
    desk: Desk,
) -> None:
    async def race(rows: list[dict[str, Any]]) -> int:
        async def activate(version_id: UUID) -> None:
            async with desk.database.transaction() as session:
                target = ("ada", NAME, version_id)
                await pointer.move(session, [target], reason="activated")

        payload = programs.Cleanup(user_id="ada", max_stored_programs=1)
        done, *moved = await asyncio.gather(
            desk.cleaning.clean_up(payload),
            *(activate(version_id) for version_id in ids_of(rows)[-3:]),
            return_exceptions=True,
        )
        assert isinstance(done, programs.CleanedUp), done
        assert all(each is None or isinstance(each, Refused) for each in moved), moved
        return sum(each is None for each in moved)

    moves = 0
    for _ in range(15):
        rows = versions(12)
        desk.write(rows)
        moves += desk.run(race(rows))
    assert moves > 0

    async def dangling() -> int:
        async with desk.database.autocommit() as connection:
            query = (
                "SELECT count(*) FROM active_program WHERE version_id NOT IN "
                "(SELECT id FROM program_version)"
            )
            return int((await connection.execute(text(query))).scalar_one())

    assert desk.run(dangling()) == 0
