"""A cleanup deletes by its rule alone, in pages, once, and never what somebody needs."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text
from sqlmodel import col, select

from bespoke_schemas import ids, programs
from bespoke_schemas.jobs import Cancel
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Job, OptimizationJob, ProgramVersion
from bespoke_workers.errors import Cancelled, Refused, Transient
from bespoke_workers.observe import events
from bespoke_workers.optimization.cancellation import Cancellation
from bespoke_workers.programs import cleaning, pointer
from bespoke_workers.programs.changing import Changing
from bespoke_workers.programs.cleaning import Cleaning
from bespoke_workers.programs.cleanup import Candidate, surplus
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings
from tests.integration.optimizing import RecordingOutbox
from tests.two_predictors import NAME, tame_state

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
USERS = count(1)


class Desk:
    """The services that a worker has, on a loop of the test's own."""

    def __init__(self, url: str, home: Path, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self.database = Database(url, pool_size=8)
        self.settings = Settings(home=home, programs=("tests.two_predictors",))
        self.outbox = RecordingOutbox()
        self.cleaning = Cleaning(self.database, self.settings, self.outbox)

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write versions as they may be, each given by what it differs in."""
        plain: dict[str, Any] = {
            "user_id": "ada", "program": NAME, "signature": "a -> b", "score": None,
            "state": {}, "fingerprint": "", "size_bytes": 10, "saved_at": NOW,
            "checkpoint": None, "checkpoint_of": None,
        }  # fmt: skip

        async def write() -> None:
            async with self.database.transaction() as session:
                await session.exec(insert(ProgramVersion).values([plain | row for row in rows]))

        if rows:
            self.run(write())

    def use(self, user_id: str | None, *version_ids: UUID) -> None:
        """Put versions into use, one after the other."""

        async def use() -> None:
            for version_id in version_ids:
                async with self.database.transaction() as session:
                    target = (user_id, NAME, version_id)
                    await pointer.move(session, [target], reason="activated")

        self.run(use())

    def begin_job(self, state: str, user_id: str = "ada") -> UUID:
        job = {"id": ids.uuid7(), "user_id": user_id, "program": NAME, "state": state}

        async def write() -> None:
            async with self.database.transaction() as session:
                await session.exec(insert(OptimizationJob).values(**job))

        self.run(write())
        return job["id"]  # type: ignore[return-value]  # a UUID

    def clean_up(self, **asked: Any) -> programs.CleanedUp:
        payload, done = programs.Cleanup(**asked), None
        while done is None:  # after a slice of time it is sent again
            done = self.run(self.cleaning.clean_up(payload))
        return done

    def there(self, user_id: str | None = "ada") -> set[UUID]:
        async def read() -> set[UUID]:
            async with self.database.transaction() as session:
                owned = col(ProgramVersion.user_id) == user_id
                return set(await session.exec(select(ProgramVersion.id).where(owned)))

        return self.run(read())


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        desk = Desk(database_url, tmp_path, runner)
        yield desk
        desk.run(desk.database.close())


def versions(number: int, **changes: Any) -> list[dict[str, Any]]:
    """`number` versions, each a day older and worth less than the one before."""
    return [
        {
            "id": ids.uuid7(),
            "score": 1 - n / number,
            "saved_at": NOW - timedelta(days=n),
            **changes,
        }
        for n in range(number)
    ]


def ids_of(rows: Sequence[dict[str, Any]]) -> list[UUID]:
    return [row["id"] for row in rows]


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
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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


@pytest.mark.parametrize("page", [2, 3, 7, 1000])
def test_everybody_is_cleaned_up_in_pages_of_any_size(
    desk: Desk, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = {
        user: [
            *versions(number, user_id=user),
            *versions(number // 2, user_id=user, program="other"),
        ]
        for user, number in {None: 9, "a": 1, "b": 12, "c": 3, "d": 6}.items()
    }
    for rows in everybody.values():
        desk.write(rows)
    desk.cleaning = Cleaning(desk.database, desk.settings, desk.outbox, versions=page)
    told: list[dict[str, Any]] = []
    end = events.subscribe("dspy.storage.cleanup", lambda event: told.append(dict(event)))

    done = desk.clean_up(max_stored_programs=3)
    end()

    for user, rows in everybody.items():
        own = [row for row in rows if "program" not in row]
        other = [row for row in rows if "program" in row]
        assert desk.there(user) == set(ids_of(own)[:3]) | set(ids_of(other)[:3]), user
    assert done.deleted_count == 6 + 1 + 9 + 3 + 3
    assert set(done.program_ids).isdisjoint(set().union(*map(desk.there, everybody)))
    assert done.kept_count == 3 + 3 + 3 + 3 + 3
    (event,) = told
    facts = {"deleted_count": 22, "kept_count": 15, "size_bytes": 220}
    assert event == {"event": "dspy.storage.cleanup", **facts}


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


# Once


def test_one_cleanup_delivered_many_times_at_once_is_one(desk: Desk) -> None:
    desk.write(versions(10))
    payload = programs.Cleanup(user_id="ada", max_stored_programs=4)

    async def deliver() -> list[programs.CleanedUp | None]:
        return await asyncio.gather(*(desk.cleaning.clean_up(payload) for _ in range(5)))

    first, *others = desk.run(deliver())

    assert first is not None
    assert first.deleted_count == 6
    assert all(other == first for other in others)
    desk.write(versions(10))
    assert desk.run(desk.cleaning.clean_up(payload)) == first
    assert len(desk.there()) == 14


def test_a_long_cleanup_gives_way_and_goes_on_where_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in "abcdef":
        desk.write(versions(5, user_id=user))
    desk.cleaning = Cleaning(desk.database, desk.settings, desk.outbox, versions=5)
    monkeypatch.setattr(cleaning, "SLICE_SECONDS", -1.0)
    payload = programs.Cleanup(max_stored_programs=2)

    slices = 0
    while (done := desk.run(desk.cleaning.clean_up(payload))) is None:
        slices += 1
        assert desk.outbox.enqueued == [payload] * slices

    assert slices > 3
    assert (done.deleted_count, done.kept_count) == (18, 12)


def test_a_cleanup_is_cancelled_between_two_pages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in "abc":
        desk.write(versions(5, user_id=user))
    desk.cleaning = Cleaning(desk.database, desk.settings, desk.outbox, versions=5)
    monkeypatch.setattr(cleaning, "SLICE_SECONDS", -1.0)
    payload = programs.Cleanup(max_stored_programs=2)
    assert desk.run(desk.cleaning.clean_up(payload)) is None

    cancellation = Cancellation(desk.database, desk.outbox)
    assert desk.run(cancellation.cancel(Cancel(job_id=payload.id))).cancelled

    with pytest.raises(Cancelled):
        desk.run(desk.cleaning.clean_up(payload))
    assert len(desk.there("c")) == 5


def test_an_id_of_another_job_is_refused(desk: Desk) -> None:
    payload = programs.Cleanup(user_id="ada")
    desk.run(desk.cleaning.clean_up(payload))

    with pytest.raises(Refused, match="belongs to another job"):
        desk.run(desk.cleaning.clean_up(programs.Cleanup(id=payload.id, user_id="bob")))


def test_each_night_has_one_cleanup_of_everybody(desk: Desk) -> None:
    desk.cleaning.enqueue_nightly()
    desk.cleaning.enqueue_nightly()

    first, second = desk.outbox.enqueued
    assert first == second == programs.Cleanup(id=first.id)

    def away(payload: Any) -> None:
        raise OSError

    desk.outbox.enqueue = away  # type: ignore[method-assign]  # a broker that is away
    with pytest.raises(Transient, match="broker failed: OSError"):
        desk.cleaning.enqueue_nightly()


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


def test_how_far_a_cleanup_is_holds_no_contents_and_names_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = {"description": "a secret", "state": {"demo": "a secret"}}
    desk.write(versions(5, user_id="a secret", **secret))
    desk.cleaning = Cleaning(desk.database, desk.settings, desk.outbox, versions=5)
    monkeypatch.setattr(cleaning, "SLICE_SECONDS", -1.0)
    payload = programs.Cleanup(max_stored_programs=2)
    desk.run(desk.cleaning.clean_up(payload))

    async def read() -> Job:
        async with desk.database.transaction() as session:
            return await session.get_one(Job, payload.id)

    job = desk.run(read())
    assert job.state == "accepted"
    assert "secret" not in job.model_dump_json()


def test_a_cleanup_whose_mark_is_gone_begins_again_and_counts_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = {user: versions(5, user_id=user) for user in "abcd"}
    for rows in everybody.values():
        desk.write(rows)
    desk.cleaning = Cleaning(desk.database, desk.settings, desk.outbox, versions=5)
    monkeypatch.setattr(cleaning, "SLICE_SECONDS", -1.0)
    payload = programs.Cleanup(max_stored_programs=2)
    while desk.there("b") != set(ids_of(everybody["b"])[:2]):
        assert desk.run(desk.cleaning.clean_up(payload)) is None

    async def erase() -> None:
        async with desk.database.autocommit() as connection:
            await connection.execute(text("DELETE FROM program_version WHERE user_id = 'b'"))

    desk.run(erase())
    while (done := desk.run(desk.cleaning.clean_up(payload))) is None:
        pass

    assert (done.deleted_count, done.kept_count) == (12, 8)
    assert [len(desk.there(user)) for user in "abcd"] == [2, 0, 2, 2]
