"""Versions are put into use, rolled back and deleted, and nothing in use is ever gone."""

import asyncio
from collections.abc import Iterator
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
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import ActiveProgram, OptimizationJob, ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.observe import events
from bespoke_workers.programs import pointer
from bespoke_workers.programs.changing import Changing
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings
from tests.two_predictors import NAME, tame_state

USERS = count(1)


class Desk:
    """The services that a worker has, on a loop of the test's own."""

    def __init__(self, url: str, home: Path, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self.database = Database(url, pool_size=8)
        self.library = Library(
            self.database, Settings(home=home, programs=("tests.two_predictors",))
        )
        self.changing = Changing(self.database, self.library)

    def save(self, user_id: str | None = "ada", **changes: Any) -> UUID:
        fields = {"program": NAME, "user_id": user_id, "state": tame_state(), **changes}
        return self.run(self.library.save(programs.Save(**fields))).program_id

    def activate(self, version_id: UUID, user_id: str | None = "ada") -> programs.Activated:
        payload = programs.Activate(program=NAME, program_id=version_id, user_id=user_id)
        return self.run(self.changing.activate(payload))

    def rollback(self, user_id: str | None = "ada") -> programs.RolledBack:
        return self.run(self.changing.rollback(programs.Rollback(program=NAME, user_id=user_id)))

    def delete(self, version_id: UUID, user_id: str | None = "ada") -> programs.Deleted:
        payload = programs.Delete(program_id=version_id, user_id=user_id)
        return self.run(self.changing.delete(payload))

    def served(self, user_id: str | None = "ada") -> UUID | None:
        """What a user's program runs with, the shared base's version included."""
        payload = programs.LoadActive(program=NAME, user_id=user_id)
        version = self.run(self.library.load_active(payload)).version
        return version.program_id if version else None

    def there(self) -> set[UUID]:
        async def read() -> set[UUID]:
            async with self.database.transaction() as session:
                return set(await session.exec(select(ProgramVersion.id)))

        return self.run(read())

    def generation(self, user_id: str | None = "ada") -> int:
        async def read() -> int:
            async with self.database.transaction() as session:
                query = select(ActiveProgram.generation)
                query = query.where(col(ActiveProgram.user_id) == user_id)
                return (await session.exec(query)).one()

        return self.run(read())

    def execute(self, statement: str, **values: Any) -> None:
        async def execute() -> None:
            async with self.database.autocommit() as connection:
                await connection.execute(text(statement), values)

        self.run(execute())


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        desk = Desk(database_url, tmp_path, runner)
        yield desk
        desk.run(desk.database.close())


# Activate


def test_a_user_s_own_version_or_a_shared_one_is_put_into_use(desk: Desk) -> None:
    own, shared = desk.save(), desk.save(None)

    first = desk.activate(own)
    second = desk.activate(shared)
    again = desk.activate(shared)

    assert first == programs.Activated(program_id=own, previous_id=None, moved=True)
    assert second == programs.Activated(program_id=shared, previous_id=own, moved=True)
    assert again == programs.Activated(program_id=shared, previous_id=shared, moved=False)
    assert desk.served() == shared
    assert desk.served("bob") is None


def test_what_a_user_may_not_use_or_does_not_fit_is_not_put_into_use(desk: Desk) -> None:
    bobs, old = desk.save("bob"), desk.save()
    desk.execute("UPDATE program_version SET fingerprint = 'another(a: str)' WHERE id = :i", i=old)

    for version_id, message in [
        (bobs, "no version"), (ids.uuid7(), "no version"), (old, "another shape"),
    ]:  # fmt: skip
        with pytest.raises(Refused, match=message):
            desk.activate(version_id)

    assert desk.served() is None


# Rollback


def test_each_rollback_goes_one_version_further_back_and_then_to_the_shared_base(
    desk: Desk,
) -> None:
    base = desk.save(None, activate=True)
    first, second, third = (desk.save(activate=True) for _ in range(3))

    one, two, three, four = (desk.rollback() for _ in range(4))

    assert one == programs.RolledBack(program_id=second, previous_id=third, moved=True)
    assert two == programs.RolledBack(program_id=first, previous_id=second, moved=True)
    assert three == programs.RolledBack(program_id=None, previous_id=first, moved=True)
    assert four == programs.RolledBack(program_id=None, previous_id=None, moved=False)
    assert desk.served() == base
    assert desk.generation() == 6  # each move is told apart, also from that to none


def test_what_was_rolled_back_is_not_what_a_later_rollback_goes_to(desk: Desk) -> None:
    first, bad = desk.save(activate=True), desk.save(activate=True)
    desk.rollback()
    better = desk.save(activate=True)

    assert desk.rollback().program_id == first
    assert desk.activate(bad).previous_id == first
    assert desk.rollback().program_id == first
    assert better in desk.there()


def test_a_rollback_passes_over_what_is_gone_or_no_longer_fits(desk: Desk) -> None:
    first, gone, unfit, last = (desk.save(activate=True) for _ in range(4))
    desk.delete(gone)
    desk.execute("UPDATE program_version SET fingerprint = 'another' WHERE id = :i", i=unfit)

    done = desk.rollback()

    assert done == programs.RolledBack(
        program_id=first, previous_id=last, moved=True, skipped=1
    )  # fmt: skip


def test_the_shared_base_is_rolled_back_for_everybody_and_for_nobody_else(desk: Desk) -> None:
    first, second = desk.save(None, activate=True), desk.save(None, activate=True)
    adas, newer = desk.save(activate=True), desk.save(activate=True)

    assert desk.rollback(None).program_id == first

    assert (desk.served("bob"), desk.served("ada")) == (first, newer)
    assert desk.rollback("bob") == programs.RolledBack(
        program_id=None, previous_id=None, moved=False
    )
    assert {adas, second} < desk.there()


def test_only_the_newest_hundred_moves_are_remembered(desk: Desk) -> None:
    one, other = desk.save(activate=True), desk.save(activate=True)

    async def toggle() -> None:
        async with desk.database.transaction() as session:
            for version_id in [one, other] * 60:
                await pointer.move(session, [("ada", NAME, version_id)], reason="activated")

    desk.run(toggle())

    async def remembered() -> int:
        async with desk.database.autocommit() as connection:
            found = await connection.execute(text("SELECT count(*) FROM activation"))
            return int(found.scalar_one())

    assert desk.run(remembered()) == 100
    assert desk.rollback().program_id == one


MOVES = st.lists(
    st.tuples(st.sampled_from(["activate", "rollback", "delete"]), st.integers(0, 3)), max_size=12
)


@given(moves=MOVES)
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # each example has a user of its own
def test_any_moves_leave_what_a_stack_of_versions_would(
    desk: Desk, moves: list[tuple[str, int]]
) -> None:
    user = f"user-{next(USERS)}"
    versions = [desk.save(user) for _ in range(4)]
    stack: list[UUID] = []
    for move, number in moves:
        version = versions[number]
        if move == "activate" and version in desk.there():
            desk.activate(version, user)
            if stack[-1:] != [version]:
                stack.append(version)
        elif move == "rollback":
            top = stack[-1:]
            while stack and stack[-1:] == top:
                stack.pop()
            assert desk.rollback(user).program_id == (stack[-1] if stack else None)
        elif move == "delete":
            if stack[-1:] == [version]:
                with pytest.raises(Refused, match="in use for 1 owner"):
                    desk.delete(version, user)
            else:
                desk.delete(version, user)
                stack = [each for each in stack if each != version]
        assert desk.served(user) == (stack[-1] if stack else None)


# Delete


def test_a_version_is_deleted_once_and_told_of_once(desk: Desk) -> None:
    told: list[dict[str, Any]] = []
    end = events.subscribe("dspy.storage.delete", lambda event: told.append(dict(event)))
    version = desk.save()

    first, again = desk.delete(version), desk.delete(version)
    end()

    assert first.deleted
    assert first.size_bytes > 0
    assert again == programs.Deleted(deleted=False)
    assert desk.there() == set()
    assert [(each["deleted_count"], each["size_bytes"]) for each in told] == [
        (1, first.size_bytes)
    ]  # fmt: skip
    assert told[0]["user"] == events.hashed("ada")


def test_another_owner_s_version_is_not_there_to_delete(desk: Desk) -> None:
    bobs, shared = desk.save("bob"), desk.save(None)

    for version, user_id in [(bobs, "ada"), (bobs, None), (shared, "ada")]:
        assert not desk.delete(version, user_id).deleted

    assert desk.there() == {bobs, shared}
    assert desk.delete(shared, None).deleted


def test_a_version_in_use_by_anybody_is_not_deleted(desk: Desk) -> None:
    shared = desk.save(None)
    for user_id in ("ada", "bob"):
        desk.activate(shared, user_id)

    with pytest.raises(Refused, match="in use for 2 owners"):
        desk.delete(shared, None)
    for user_id in ("ada", "bob"):
        desk.rollback(user_id)

    assert desk.delete(shared, None).deleted


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_a_checkpoint_of_a_job_that_has_not_ended_is_not_deleted(desk: Desk, state: str) -> None:
    checkpoint, job_id = desk.save(), ids.uuid7()

    async def write() -> None:
        async with desk.database.transaction() as session:
            job = {"id": job_id, "user_id": "ada", "program": NAME, "state": state}
            await session.exec(insert(OptimizationJob).values(**job))

    desk.run(write())
    statement = "UPDATE program_version SET checkpoint = 'auto', checkpoint_of = :job"
    desk.execute(statement, job=job_id)

    if state == "succeeded":
        assert desk.delete(checkpoint).deleted
    else:
        with pytest.raises(Refused, match="has not ended"):
            desk.delete(checkpoint)


# At the same time


def test_deleting_and_activating_at_once_never_leaves_a_pointer_to_nothing(desk: Desk) -> None:
    async def race(version: UUID) -> tuple[Any, Any]:
        deleting = programs.Delete(program_id=version, user_id="ada")
        activating = programs.Activate(program=NAME, program_id=version, user_id="ada")
        deleted, activated = await asyncio.gather(
            desk.changing.delete(deleting),
            desk.changing.activate(activating),
            return_exceptions=True,
        )
        return deleted, activated

    for _ in range(20):
        version = desk.save()
        deleted, activated = desk.run(race(version))
        if isinstance(deleted, Refused):
            assert "in use" in str(deleted)
            assert (desk.served(), activated.program_id) == (version, version)
            desk.rollback()
        else:
            assert deleted.deleted
            assert "no version" in str(activated)
            assert isinstance(activated, Refused)
            assert version not in desk.there()


def test_one_rollback_delivered_many_times_at_once_is_one_step(desk: Desk) -> None:
    versions = [desk.save(activate=True) for _ in range(4)]
    payload = programs.Rollback(program=NAME, user_id="ada")

    async def deliver() -> list[programs.RolledBack]:
        return await asyncio.gather(*(desk.changing.rollback(payload) for _ in range(6)))

    answers = desk.run(deliver())

    assert all(answer == answers[0] for answer in answers)
    assert desk.served() == versions[2]


def test_different_rollbacks_at_once_are_a_step_each(desk: Desk) -> None:
    versions = [desk.save(activate=True) for _ in range(6)]

    async def deliver() -> list[programs.RolledBack]:
        jobs = [programs.Rollback(program=NAME, user_id="ada") for _ in range(4)]
        return await asyncio.gather(*(desk.changing.rollback(job) for job in jobs))

    answers = desk.run(deliver())

    assert {answer.program_id for answer in answers} == set(versions[1:5])
    assert desk.served() == versions[1]
