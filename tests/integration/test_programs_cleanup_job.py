"""A cleanup is one job: in pages, once, cancelled between two, and gone on with."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bespoke_schemas import programs
from bespoke_schemas.jobs import Cancel
from bespoke_workers.database.tables import Job
from bespoke_workers.errors import Cancelled, Refused, Transient
from bespoke_workers.observe import events
from bespoke_workers.optimization.cancellation import Cancellation
from bespoke_workers.programs import cleaning
from bespoke_workers.programs.cleaning import Cleaning
from tests.integration.cleaning_desk import Desk, ids_of, versions


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        desk = Desk(database_url, tmp_path, runner)
        yield desk
        desk.run(desk.database.close())


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
