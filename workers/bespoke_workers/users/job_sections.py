"""The sections that tell of a user and are not brought in: memberships, and the records of jobs.

What a bundle says of memberships opens no space to anybody, and what it says of jobs would have
jobs count as done that this system never did.
"""

from typing import Any
from uuid import UUID

from sqlmodel import col, select

from bespoke_schemas.fields import Moment, Name
from bespoke_workers.database.tables import Job, SpaceMember
from bespoke_workers.users.bundle_format import Line
from bespoke_workers.users.sections import Arrival, Section


class Shared(Line):
    """A space that the user shares."""

    space: Name
    joined_at: Moment


class Done(Line):
    """One job, and what it answered."""

    id: UUID
    task: Name
    state: Name
    result: dict[str, Any] | None
    reason: str | None
    finished_at: Moment


async def name_spaces(arrival: Arrival, entries: Any) -> None:
    """Note which spaces the user shared, for the application to decide."""
    arrival.spaces.extend(one.space for one in entries)


def _memberships(user_id: str) -> Any:
    row = SpaceMember
    return select(row).where(row.user_id == user_id).order_by(col(row.space))


def _jobs(user_id: str) -> Any:
    return select(Job).where(Job.user_id == user_id).order_by(col(Job.finished_at), col(Job.id))


def _done(row: Job) -> Done:
    return Done.model_construct(
        id=row.id,
        task=row.task,
        state=row.state,
        result=row.result,
        reason=row.reason,
        finished_at=row.finished_at,
    )


SECTIONS = (
    Section(
        "memberships",
        Shared,
        _memberships,
        lambda row: Shared.model_construct(space=row.space, joined_at=row.joined_at),
        name_spaces,
    ),
    Section("jobs", Done, _jobs, _done),
)
