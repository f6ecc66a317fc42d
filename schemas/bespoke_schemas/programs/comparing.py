"""The payload that compares two versions."""

from uuid import UUID

from bespoke_schemas.fields import UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.programs.versions import VersionSummary
from bespoke_schemas.queues import Queue


class Comparison(Result):
    """What is between two versions, always of the first as against the second.

    ``score_difference`` is the first score less the second; None unless both have one.
    ``better_program`` is the id of the one that scored higher; None if neither did.
    ``age_difference_hours`` is how many hours the first is older; below 0 if it is younger.
    ``same_program`` says whether both are of one program: the scores of two programs say as
    much about their metrics as about them.
    """

    score_difference: float | None
    better_program: UUID | None
    age_difference_hours: float
    same_program: bool


class PredictorDifference(Result):
    """What differs in one predictor, without its contents.

    ``demos_1`` and ``demos_2`` are how many demos it has; None in a version that lacks it.
    """

    demos_1: int | None
    demos_2: int | None
    demos_changed: bool
    instructions_changed: bool
    fields_changed: bool


class Compared(Result):
    """Two versions side by side; ``predictors`` has those that differ, by their names."""

    program_1: VersionSummary
    program_2: VersionSummary
    comparison: Comparison
    predictors: dict[str, PredictorDifference]


class Compare(Payload[Compared], queue=Queue.PROGRAMS):
    """Compare two versions, each the user's own or shared; shared ones if no user is named.

    It is refused if one of them is not there, or not for this user to see.
    """

    program_id_1: UUID
    program_id_2: UUID
    user_id: UserId | None = None
