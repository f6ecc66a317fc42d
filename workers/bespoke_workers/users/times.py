"""When a job was made, by its id."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def made_at(job_id: UUID) -> datetime | None:
    """Return when a job was made, to the millisecond; None where its id does not tell."""
    if job_id.version != 7:
        return None
    return _EPOCH + timedelta(milliseconds=job_id.int >> 80)


def is_until(job_id: UUID, moment: datetime) -> bool:
    """Whether a job was made up to a moment, which one that does not tell was."""
    made = made_at(job_id)
    return made is None or made <= moment
