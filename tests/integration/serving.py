"""What serves users' programs in tests, and what moves their pointers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from bespoke_schemas import programs
from bespoke_workers.database.portal import Portal, wait
from bespoke_workers.programs.changing import Changing
from bespoke_workers.programs.library import Library
from bespoke_workers.programs.serving import ForUser
from bespoke_workers.settings import Settings
from tests.nodes.waiting import SECONDS
from tests.two_predictors import NAME, tame_state

MODULES = ("tests.two_predictors", "tests.hybrid_program")


class Serving:
    """An application that serves users' programs, and a library to save versions with."""

    def __init__(self, url: str, home: Path, **changes: Any) -> None:
        self.settings = Settings(database_url=url, home=home, programs=MODULES, **changes)
        self.portal = Portal(lambda: self.settings)
        self.for_user = ForUser(lambda: self.portal)
        self.library = Library(self.portal.database, self.settings)

    def save(self, words: str, user_id: str | None = "ada", **changes: Any) -> UUID:
        """Save a version whose one demo says ``words``, and put it into use."""
        payload = {"program": NAME, "state": tame_state(words), "activate": True, **changes}
        saving = programs.Save(user_id=user_id, **payload)
        self.do(lambda: self.library.save(saving))
        return saving.id

    def activate(self, version: UUID, user_id: str | None = "ada", program: str = NAME) -> None:
        """Put a saved version into use, such as an earlier one."""

        async def move() -> None:
            async with self.portal.database.transaction() as session:
                await self.library.activate(session, user_id, program, version, reason="activated")

        self.do(move)

    def roll_back(self, user_id: str | None = "ada") -> None:
        """Go back to the version in use before, or to none."""
        changing = Changing(self.portal.database, self.library)
        payload = programs.Rollback(program=NAME, user_id=user_id)
        self.do(lambda: changing.rollback(payload))

    def do(self, work: Any) -> Any:
        """Do async work on the connections of this application."""
        return wait(work, self.portal.loop, SECONDS)

    def words(self, user_id: str | None = "ada") -> str | None:
        """Return what the demo of the program says that the user is served."""
        return said(self.for_user(NAME, user_id))


def said(module: Any) -> str | None:
    """Return what the one demo of a module says; None for the plain program."""
    return module.classify.demos[0]["text"] if module.classify.demos else None


@contextmanager
def serving(url: str, home: Path, **changes: Any) -> Iterator[Serving]:
    """Serve users' programs until the test is done with it."""
    here = Serving(url, home, **changes)
    try:
        yield here
    finally:
        here.portal.close()
