"""What a section of a user's bundle is: what it holds, how it is read, and how brought in."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.errors import Refused
from bespoke_workers.memories.records import second_id

EntryT = TypeVar("EntryT", bound=BaseModel)


def something_already() -> Refused:
    """Make the error of an import for a user of whom there is something."""
    return Refused(
        "there is something of this user already, and a bundle is brought in for a user "
        "of whom there is nothing; erase the user first, or import under another id"
    )


def _as_it_is(entry: EntryT) -> EntryT:
    return entry


@dataclass
class Arrival:
    """A bundle on its way in: for whom, in which transaction, by which job.

    ``rename`` says that it was another user's. Sections note here what later ones need.
    """

    session: AsyncSession
    user_id: str
    job_id: UUID
    now: datetime
    rename: bool
    seen: set[tuple[str, object]] = field(default_factory=set)
    spaces: list[str] = field(default_factory=list)

    def own(self, an_id: UUID) -> UUID:
        """Return the id that something gets here: another one if it was another user's."""
        return second_id(an_id, self.user_id) if self.rename else an_id

    def maybe_own(self, an_id: UUID | None) -> UUID | None:
        """Return the id that something gets here, if it has one."""
        return None if an_id is None else self.own(an_id)

    def is_new(self, kind: str, key: object) -> bool:
        """Whether nothing of a kind has come under this key before."""
        before = len(self.seen)
        self.seen.add((kind, key))
        return len(self.seen) > before


@dataclass(frozen=True)
class Section(Generic[EntryT]):
    """One kind of things that there are of a user.

    ``query`` selects them, in an order that is always the same, and ``entry_of`` makes an entry
    of each row. ``clean`` refuses what the model alone lets pass. ``bring_in`` writes entries;
    without it, they are there to be read by people, and an import leaves them out.
    """

    name: str
    entry: type[EntryT]
    query: Callable[[str], Any]
    entry_of: Callable[[Any], EntryT]
    bring_in: Callable[[Arrival, Sequence[EntryT]], Awaitable[None]] | None = None
    clean: Callable[[EntryT], EntryT] = _as_it_is
    rows_at_once: int = 500

    def parsed(self, entry: dict[str, Any]) -> EntryT:
        """Return an entry of a bundle; raises ValidationError or Refused for one that is none."""
        return self.clean(self.entry.model_validate(entry))
