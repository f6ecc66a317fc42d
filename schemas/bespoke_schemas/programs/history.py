"""The payload that tells how versions got better, or did not, over time."""

from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Moment, Name, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class Summary(Result):
    """All versions together; scores are None where no version has one.

    ``best`` is the version of the highest score, the newest of equals.
    """

    total_programs: int
    avg_score: float | None
    best_score: float | None
    best: UUID | None
    first_saved_at: Moment | None
    last_saved_at: Moment | None


class OptimizerStats(Result):
    """The versions that one optimizer made; scores are None where none of them has one."""

    count: int
    best_score: float | None
    avg_score: float | None


class Point(Result):
    """One version in a plot of scores over time.

    ``promoted`` says whether its owner ever put it into use, by an optimization or by hand, and
    ``active`` whether it is in use now.
    """

    program_id: UUID
    saved_at: Moment
    score: float | None
    optimizer: str | None
    promoted: bool
    active: bool


class Trend(Result):
    """One program's versions over time.

    ``improvement_percentage`` is by how many percent of the first score the last one is higher,
    in order of saving, over all versions that have a score: 100 * (last - first) / |first|,
    rounded to two digits. It is None with fewer than two scores, and where the first is 0.
    ``points`` are the newest versions, the oldest of them first.
    """

    improvement_percentage: float | None
    first_score: float | None
    last_score: float | None
    best_score: float | None
    count: int
    points: tuple[Point, ...]


class Trends(Result):
    """Each program's trend, and the mean of their percentages; None where none has one."""

    improvement_percentage: float | None
    programs: dict[str, Trend]


class ProgramHistory(Result):
    """The history of one user's versions, or of the shared base's.

    ``optimizer_stats`` are by the optimizers' names; versions that name none are in the summary
    alone.
    """

    summary: Summary
    optimizer_stats: dict[str, OptimizerStats]
    trends: Trends


class History(Payload[ProgramHistory], queue=Queue.PROGRAMS):
    """Tell the history of one user's versions, or of the shared base's if no user is named.

    Of all programs, or of one. ``points`` is how many of each program's newest versions are
    told one by one; the numbers are over all of them. Checkpoints count only with
    ``checkpoints``.
    """

    user_id: UserId | None = None
    program: Name | None = None
    checkpoints: bool = False
    points: int = Field(default=100, ge=0, le=500)
