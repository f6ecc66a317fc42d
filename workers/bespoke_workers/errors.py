"""What can go wrong in a worker.

BespokeError
├── Transient        may pass: the job is tried again
└── Permanent        will not pass: the job is refused once and for all, with its reason
    ├── Refused          the payload asks for something that cannot be done
    ├── Misconfigured    a setting is missing or wrong
    │   └── Unusable         … so that no job can be done: jobs wait until it is corrected
    ├── Parked           the job killed its worker too many times
    └── Cancelled        the job was cancelled

The text of each is one line for whoever reads a job's result, and never holds contents,
examples, keys or passwords (DESIGN §3, invariant 8).
"""


class BespokeError(Exception):
    """The root of every error that Bespoke raises on purpose."""


class Transient(BespokeError):
    """A failure that may pass by itself, such as a server that is away."""


class Permanent(BespokeError):
    """A failure that trying again will not cure."""


class Refused(Permanent):
    """The payload asks for something that cannot be done; the text says what and why."""

    @classmethod
    def reused(cls, job_id: object) -> "Refused":
        """Make the error of a payload under the id of another task's or user's job."""
        return cls(f"the id {job_id} belongs to another job; give each payload an id of its own")


class Misconfigured(Permanent):
    """A setting is missing or wrong; the text names it and says what to set."""


class Unusable(Misconfigured):
    """The database cannot be used as it is set or as it is; no job is at fault, so jobs wait."""


class Parked(Permanent):
    """A job that was delivered again and again because its worker died each time."""

    @classmethod
    def after(cls, deliveries: int) -> "Parked":
        """Make the error of a job that was delivered ``deliveries`` times in vain."""
        return cls(
            f"parked: {deliveries} workers died or lost their connection while doing this job; "
            "see the workers' logs, then enqueue it under a new id"
        )


class Cancelled(Permanent):
    """A job that was cancelled before it had an effect."""


class UnexpectedFailure(Permanent):
    """A bug: an exception that nobody expected. Only its type is told; the log has the place."""

    @classmethod
    def of(cls, error: Exception, task: str) -> "UnexpectedFailure":
        """Make the error that stands for ``error``, whose own text may hold contents."""
        return cls(f"{type(error).__name__} in {task}: a bug; the worker's log has the place")
