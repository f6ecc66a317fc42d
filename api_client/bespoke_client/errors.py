"""Everything that the client raises.

BespokeClientError
├── NotConfigured            no address of a broker, or one that cannot be used
├── BrokerUnavailable        Redis did not answer in time
│   └── BrokerRefused        Redis answered and said no: password, rights, database
├── PayloadTooLarge          (also a ValueError) more than one message may hold
├── JobError                 what is wrong is the job, and asking again changes nothing
│   ├── JobFailed
│   ├── JobCancelled
│   └── ResultIgnored        the job was enqueued without wanting its result
├── ResultTimeout            (also a TimeoutError) the job goes on, the waiting ended
├── NotServed                a user's program cannot be served here, or not as it is asked for
└── BadResult                the answer does not fit the result type that was promised

A payload that does not validate raises pydantic's ValidationError, and what is no payload
at all raises TypeError. Neither reaches the broker.
"""

from uuid import UUID


class BespokeClientError(Exception):
    """Base of everything that the client raises."""


class NotConfigured(BespokeClientError):
    """There is no address of a broker, or the one that is set cannot be used."""


class BrokerUnavailable(BespokeClientError):
    """Redis did not answer in time. ``address`` never shows a password."""

    def __init__(
        self, address: str, source: str, seconds: float, reason: str, note: str = ""
    ) -> None:
        self.address = address
        self.reason = reason
        super().__init__(
            f"Redis at {address} did not answer within {seconds:g} s ({reason}); "
            f"start it, or correct {source}{_also(note)}"
        )


class BrokerRefused(BrokerUnavailable):
    """Redis answered and refused: a wrong password, missing rights, no such database."""

    def __init__(self, address: str, source: str, reason: str, note: str = "") -> None:
        self.address = address
        self.reason = reason
        BespokeClientError.__init__(
            self,
            f"Redis at {address} refused ({reason}); "
            f"correct the user, password or database in {source}{_also(note)}",
        )


class PayloadTooLarge(BespokeClientError, ValueError):
    """A payload is larger than one message may be. Sizes are in bytes of JSON."""

    def __init__(self, task: str, size: int, limit: int) -> None:
        self.task = task
        self.size = size
        self.limit = limit
        super().__init__(
            f"a payload of {task} is {size} bytes of JSON, one message holds at most {limit}; "
            "split it into several payloads"
        )


class JobError(BespokeClientError):
    """What is wrong is the job itself; ``job_id`` says which."""

    def __init__(self, job_id: UUID, text: str) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} {text}")


class JobFailed(JobError):
    """The job ended without a result: the worker's type of error, and its reason."""

    def __init__(self, job_id: UUID, error_type: str, reason: str) -> None:
        self.error_type = error_type
        self.reason = reason
        super().__init__(job_id, f"failed: {error_type}: {reason}")


class JobCancelled(JobError):
    """The job was cancelled before it had a result."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(job_id, "was cancelled; enqueue a new payload to have it done after all")


class ResultIgnored(JobError):
    """The job was enqueued with ``ignore_result=True`` and leaves nothing to wait for."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(
            job_id, "was enqueued with ignore_result=True; enqueue without it to read a result"
        )


class ResultTimeout(BespokeClientError, TimeoutError):
    """The waiting ended, the job did not: it is safe, and can be found again by its id."""

    def __init__(self, job_id: UUID, seconds: float) -> None:
        self.job_id = job_id
        self.seconds = seconds
        super().__init__(
            f"job {job_id} has no result after {seconds:g} s; it is still safe in its queue or "
            f"with a worker: read it later with client.job({str(job_id)!r}).result()"
        )


class NotServed(BespokeClientError):
    """A user's program cannot be served: not registered here, without DSPy, or strictly."""


class BadResult(BespokeClientError):
    """An answer that does not fit what the job promised to answer."""

    def __init__(self, job_id: UUID, problem: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"job {job_id} answered what cannot be read: {problem}; "
            "install the same version of bespoke-schemas on both sides"
        )


def _also(note: str) -> str:
    return f"; {note}" if note else ""
