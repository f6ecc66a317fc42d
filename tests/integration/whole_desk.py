"""One installation whose programs are saved whole, for tests."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlmodel import col, select

from bespoke_schemas import programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import WholeProgram
from bespoke_workers.observe import events
from bespoke_workers.programs.library import Library
from bespoke_workers.programs.whole import WholePrograms
from bespoke_workers.settings import Settings
from tests.hybrid_program import NAME, worded
from tests.traps import KEY

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


@contextmanager
def opened(url: str, root: Path) -> Iterator[Desk]:
    """Open an installation of which nobody else knows."""
    with asyncio.Runner() as runner:
        desk = Desk(url, root, runner)
        yield desk
        runner.run(desk.database.close())
