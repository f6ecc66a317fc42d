"""What the tests of cleanups share: the services of a worker, and versions as they may be."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlmodel import col, select

from bespoke_schemas import ids, programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import OptimizationJob, ProgramVersion
from bespoke_workers.programs import pointer
from bespoke_workers.programs.cleaning import Cleaning
from bespoke_workers.settings import Settings
from tests.integration.optimizing import RecordingOutbox
from tests.two_predictors import NAME

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


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
