"""The pointer moves to versions that are there, and remembers where it was."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from bespoke_schemas import ids, programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Activation, ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.programs import pointer
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings
from tests.two_predictors import NAME, tame_state


@pytest.fixture
def database(database_url: str, runner: asyncio.Runner) -> Iterator[Database]:
    database = Database(database_url, pool_size=4)
    yield database
    runner.run(database.close())


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    return Library(database, Settings(home=tmp_path, programs=("tests.two_predictors",)))


def saved(library: Library, runner: asyncio.Runner, **changes: Any) -> UUID:
    fields = {"program": NAME, "user_id": "ada", "state": tame_state(), **changes}
    return runner.run(library.save(programs.Save(**fields))).program_id


async def moved(database: Database, *version_ids: UUID) -> None:
    for version_id in version_ids:
        async with database.transaction() as session:
            await pointer.move(session, [("ada", NAME, version_id)], reason="activated")


def test_each_move_is_kept_with_its_reason_and_a_move_to_the_same_is_none(
    runner: asyncio.Runner, library: Library, database: Database
) -> None:
    first = saved(library, runner, activate=True)
    second = saved(library, runner)

    runner.run(moved(database, second, second, first))

    async def activations() -> list[Activation]:
        async with database.transaction() as session:
            query = select(Activation).order_by(col(Activation.generation))
            return list(await session.exec(query))

    kept = runner.run(activations())
    assert [(each.generation, each.version_id, each.reason) for each in kept] == [
        (1, first, "saved"), (2, second, "activated"), (3, first, "activated"),
    ]  # fmt: skip
    assert all(each.undone_at is None for each in kept)


def test_a_pointer_never_moves_to_what_is_not_there_or_is_a_checkpoint(
    runner: asyncio.Runner, library: Library, database: Database
) -> None:
    checkpoint = saved(library, runner)

    async def name_it() -> None:
        async with database.transaction() as session:
            await session.exec(
                update(ProgramVersion)
                .where(col(ProgramVersion.id) == checkpoint)
                .values(checkpoint="before the night")
            )

    runner.run(name_it())

    for version_id in (checkpoint, ids.uuid7()):
        with pytest.raises(Refused, match="is not there, or is a checkpoint"):
            runner.run(moved(database, version_id))
