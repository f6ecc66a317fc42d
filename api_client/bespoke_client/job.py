"""One job: how it is, how far it is, what it came to."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, TypeVar, cast
from uuid import UUID

from bespoke_client.errors import ResultIgnored, ResultTimeout
from bespoke_client.results import AsyncResults, Results
from bespoke_client.state import POLL, State
from bespoke_schemas import Result
from bespoke_schemas.jobs import Cancelled, Progress, Status

ResultT = TypeVar("ResultT", bound=Result, covariant=True)


class _Ticket:
    """What the two kinds of job share: an id, a task, and what their states mean."""

    def __init__(self, job_id: UUID, task: str | None, ignored: bool) -> None:
        self._id = job_id
        self._task = task
        self._ignored = ignored

    @property
    def id(self) -> UUID:
        """The job's id, which is its payload's."""
        return self._id

    @property
    def task(self) -> str | None:
        """The task's name; None for a job found by its id that has not said it yet."""
        return self._task

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._task or 'of unknown task'} {self._id}>"

    def _seen(self, state: State) -> State:
        if self._ignored:
            raise ResultIgnored(self._id)
        if self._task is None:
            self._task = state.task
        return state

    def _answer(self, state: State) -> Result:
        return state.result(self._id, self._task)


class Job(_Ticket, Generic[ResultT]):
    """A job that was enqueued. Reading it changes nothing and may be done any number of times."""

    def __init__(
        self,
        job_id: UUID,
        task: str | None,
        results: Results,
        cancel: Callable[[UUID], "Job[Cancelled]"],
        *,
        ignored: bool = False,
    ) -> None:
        super().__init__(job_id, task, ignored)
        self._results = results
        self._cancel = cancel

    def status(self) -> Status:
        """Return where the job is in its life; an unknown job looks queued."""
        return self._seen(self._results.state(self._id)).status

    def progress(self) -> Progress | None:
        """Return how far the job is; None unless it runs and has said so."""
        return self._seen(self._results.state(self._id)).progress

    def watch(self, interval: float = POLL) -> Iterator[Progress]:
        """Yield the job's progress each time it changes, until the job ends.

        Looks at least every ``interval`` seconds. Raises JobFailed, JobCancelled,
        and BrokerUnavailable if Redis stays away for a minute.
        """
        last = None
        for state in self._results.follow(self._id, None, interval):
            self._seen(state).check(self._id)
            if state.progress is not None and state.progress != last:
                yield state.progress
                last = state.progress

    def result(self, timeout: float | None = None) -> ResultT:
        """Wait for the job's end, at most ``timeout`` seconds, and return its result.

        Raises JobFailed, JobCancelled, ResultTimeout (the job goes on), BadResult, and
        BrokerUnavailable if Redis stays away that long (without a timeout: a minute).
        """
        for state in self._results.follow(self._id, timeout):
            if self._seen(state).final:
                return cast("ResultT", self._answer(state))
        raise ResultTimeout(self._id, timeout or 0.0)

    def cancel(self) -> "Job[Cancelled]":
        """Ask for the job to be stopped; the job returned says whether that came in time.

        What decides is that job, in the database. Raises what ``enqueue`` raises.
        """
        return self._cancel(self._id)


class AsyncJob(_Ticket, Generic[ResultT]):
    """Job for asyncio."""

    def __init__(
        self,
        job_id: UUID,
        task: str | None,
        results: AsyncResults,
        cancel: Callable[[UUID], Awaitable["AsyncJob[Cancelled]"]],
        *,
        ignored: bool = False,
    ) -> None:
        super().__init__(job_id, task, ignored)
        self._results = results
        self._cancel = cancel

    async def status(self) -> Status:
        """Return where the job is in its life; an unknown job looks queued."""
        return self._seen(await self._results.state(self._id)).status

    async def progress(self) -> Progress | None:
        """Return how far the job is; None unless it runs and has said so."""
        return self._seen(await self._results.state(self._id)).progress

    async def watch(self, interval: float = POLL) -> AsyncIterator[Progress]:
        """Yield the job's progress each time it changes; see Job.watch."""
        last = None
        async for state in self._results.follow(self._id, None, interval):
            self._seen(state).check(self._id)
            if state.progress is not None and state.progress != last:
                yield state.progress
                last = state.progress

    async def result(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # its end raises more than TimeoutError
    ) -> ResultT:
        """Wait for the job's end, at most ``timeout`` seconds; see Job.result."""
        async for state in self._results.follow(self._id, timeout):
            if self._seen(state).final:
                return cast("ResultT", self._answer(state))
        raise ResultTimeout(self._id, timeout or 0.0)

    async def cancel(self) -> "AsyncJob[Cancelled]":
        """Ask for the job to be stopped; see Job.cancel."""
        return await self._cancel(self._id)
