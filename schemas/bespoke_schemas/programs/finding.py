"""Payloads that find versions and tell of them in brief."""

from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Moment, Name, Tags, Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.programs.versions import VersionSummary
from bespoke_schemas.queues import Queue

MAX_AGE_DAYS = 36_500  # a century; what is older was imported with a wrong date


class Cursor(Result):
    """Where a page ended: at this version. It holds though the version be deleted since."""

    saved_at: Moment
    program_id: UUID


class Found(Result):
    """A page of versions, newest first, and the cursor of the next; None on the last page."""

    versions: tuple[VersionSummary, ...]
    next: Cursor | None


class Find(Payload[Found], queue=Queue.PROGRAMS):
    """Find one user's versions, or the shared base's if no user is named, newest first.

    Only those are found of which everything holds that is given: the ``program``, the
    ``signature`` (as `Version` has it), the ``optimizer``, a score of at least ``min_score``
    (unscored ones have none), saved at most ``max_age_days`` ago, carrying all the ``tags``.
    Checkpoints are found only with ``checkpoints``, among the others.

    ``after`` is the ``next`` of the page before. Pages neither repeat nor miss a version though
    others be saved meanwhile; those come before the first page, and are seen by asking anew.
    """

    user_id: UserId | None = None
    program: Name | None = None
    signature: Text | None = None
    optimizer: Name | None = None
    min_score: float | None = None
    max_age_days: float | None = Field(default=None, ge=0, le=MAX_AGE_DAYS)
    tags: Tags = ()
    checkpoints: bool = False
    limit: int = Field(default=50, ge=1, le=500)
    after: Cursor | None = None


class List(Payload[Found], queue=Queue.PROGRAMS):
    """List everything of one user, or of the shared base if no user is named, newest first.

    Checkpoints are listed only with ``checkpoints``. How many there are is not told: counting
    them takes longer than reading a page. `History` counts.
    """

    user_id: UserId | None = None
    checkpoints: bool = False
    limit: int = Field(default=100, ge=1, le=500)
    after: Cursor | None = None
