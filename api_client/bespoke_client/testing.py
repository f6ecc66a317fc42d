"""Fakes for applications' own tests: no broker, no workers, the same surface.

```python
client = RecordingClient()
client.answer(memories.Count, memories.Counted(count=3))
assert remember_and_count(client, "ada") == 3
assert client.enqueued[0].content == "Prefers dark mode"
```
A payload and an answer go through JSON, as they do on the wire.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from bespoke_client.aio import AsyncClient
from bespoke_client.client import Client
from bespoke_client.errors import BespokeClientError
from bespoke_client.message import Message
from bespoke_client.state import POLL, State, decode
from bespoke_schemas import Payload, payload_type
from bespoke_schemas.jobs import Cancel, Cancelled, Progress
from bespoke_schemas.payload import ResultT

ADDRESS = "nowhere (recording)"


class Unanswered(BespokeClientError):
    """A test waits for a result that it has not set."""

    def __init__(self, job_id: UUID, task: str | None) -> None:
        payload = payload_type(task) if task else None
        name = payload.__name__ if payload else "SomePayload"
        result = payload.result_type.__name__ if payload else "ItsResult"
        module = payload.__module__.split(".")[1] if payload else "memories"
        super().__init__(
            f"job {job_id} ({task or 'never enqueued here'}) has no answer; set one with "
            f"client.answer({module}.{name}, {module}.{result}(...)) before waiting for it"
        )


@dataclass(frozen=True)
class _Answer:
    give: Any
    progress: tuple[Progress, ...]


class Recorder:
    """A broker, its workers and their results in one: what both fakes write to and read from."""

    def __init__(self) -> None:
        self.enqueued: list[Payload[Any]] = []
        self._answers: dict[str, _Answer] = {}
        self._jobs: dict[UUID, Payload[Any]] = {}
        self._ended: dict[UUID, State] = {}
        self.answer(Cancel, self._stop)

    def answer(
        self, payload: type[Payload[Any]], give: Any, progress: Iterable[Progress] = ()
    ) -> None:
        """Set what jobs of this kind answer, and the progress that they report before."""
        self._answers[payload.task] = _Answer(give, tuple(progress))

    def send(self, messages: Sequence[Message], *, ignore_result: bool) -> None:
        """Record payloads as a worker would read them."""
        for message in messages:
            kind = payload_type(message.task)
            assert kind is not None, f"{message.task} was enqueued and is not registered"
            payload = kind.model_validate_json(json.dumps(message.body))
            self.enqueued.append(payload)
            self._jobs.setdefault(payload.id, payload)
            if isinstance(payload, Cancel):
                self._end(payload)

    def revoke(self, job_id: UUID) -> None:
        """Do nothing: the Cancel that came before has decided."""

    def state(self, job_id: UUID) -> State:
        """Return how the job is: ended if it has an answer, else queued."""
        payload = self._jobs.get(job_id)
        if job_id in self._ended:
            return self._ended[job_id]
        if payload is None or payload.task not in self._answers:
            return State(task=payload.task if payload else None)
        return self._end(payload)

    def follow(
        self, job_id: UUID, timeout: float | None = None, interval: float = POLL
    ) -> Iterator[State]:
        """Yield the progress that was set, then the end. Raises Unanswered."""
        state = self.state(job_id)
        if not state.final:
            raise Unanswered(job_id, state.task)
        task = self._jobs[job_id].task
        answer = self._answers.get(task)
        for progress in answer.progress if answer else ():
            content = {"task": task, "progress": progress.model_dump(mode="json")}
            yield _decoded(job_id, "PROGRESS", content)
        yield state

    def close(self) -> None:
        """Do nothing: what was recorded can still be read."""

    def _end(self, payload: Payload[Any]) -> State:
        """Answer a job once: it has the same answer however often it is asked."""
        if payload.id not in self._ended:
            self._ended[payload.id] = _run(payload, self._answers[payload.task].give)
        return self._ended[payload.id]

    def _stop(self, cancel: Cancel) -> Cancelled:
        state = self.state(cancel.job_id)
        if state.final:
            return Cancelled(cancelled=False, reason=f"the job has {state.status.value} already")
        self._ended[cancel.job_id] = _decoded(cancel.job_id, "REVOKED", None)
        return Cancelled(cancelled=True, reason="the job had not been started")


class AsyncRecorder:
    """What a Recorder has recorded, read with asyncio."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def state(self, job_id: UUID) -> State:
        """Return how the job is."""
        return self._recorder.state(job_id)

    async def follow(
        self,
        job_id: UUID,
        timeout: float | None = None,  # noqa: ASYNC109  # its end is no error here
        interval: float = POLL,
    ) -> AsyncIterator[State]:
        """Yield the progress that was set, then the end. Raises Unanswered."""
        for state in self._recorder.follow(job_id, timeout, interval):
            yield state

    async def close(self) -> None:
        """Do nothing: what was recorded can still be read."""


class _Answers:
    """What a test sets and reads on either fake."""

    _recorder: Recorder

    @property
    def enqueued(self) -> list[Payload[Any]]:
        """Every payload that was enqueued, in order, as a worker would read it."""
        return self._recorder.enqueued

    def answer(
        self,
        payload: type[Payload[ResultT]],
        answer: ResultT | Callable[[Any], ResultT] | Exception,
        *,
        progress: Iterable[Progress] = (),
    ) -> None:
        """Set what jobs of one kind answer: a result, or what a function makes of the payload.

        An exception, given or raised by the function, fails the job with its type and text.
        """
        self._recorder.answer(payload, answer, progress)


class RecordingClient(_Answers, Client):
    """Client that records payloads in ``enqueued`` and answers as it was told."""

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._connect(self._recorder, self._recorder, ADDRESS)


class RecordingAsyncClient(_Answers, AsyncClient):
    """AsyncClient that records payloads in ``enqueued`` and answers as it was told."""

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._connect(self._recorder, AsyncRecorder(self._recorder), ADDRESS)


def _run(payload: Payload[Any], give: Any) -> State:
    try:
        if isinstance(give, Exception):
            raise give
        result = give(payload) if callable(give) else give
    except Exception as error:  # noqa: BLE001  # a worker's job fails by any exception too
        return _failed(payload.id, error)
    content = {"task": payload.task, "result": result.model_dump(mode="json")}
    return _decoded(payload.id, "SUCCESS", content)


def _failed(job_id: UUID, error: Exception) -> State:
    content = {"exc_type": type(error).__name__, "exc_message": [str(word) for word in error.args]}
    return _decoded(job_id, "FAILURE", content)


def _decoded(job_id: UUID, status: str, content: Any) -> State:
    return decode(job_id, json.dumps({"status": status, "result": content}))
