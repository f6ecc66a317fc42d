"""The Celery application, and how a function becomes a task. The only door to Celery.

A task is an adapter: it decodes the payload, calls one service and returns its result.
Short jobs are acknowledged late and rejected when their worker is lost, so that however
a worker dies the message comes back; the database sees to it that the effect does not
(``database.once``). Long ones are acknowledged at once and guarded by a lease.
"""

import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

import structlog
from celery import Celery, Task, signals
from celery.app.amqp import AMQP, Queues
from celery.concurrency import get_implementation
from celery.exceptions import Ignore, Reject
from kombu.exceptions import OperationalError
from pydantic import ValidationError

from bespoke_schemas import Payload, Result
from bespoke_schemas.jobs import Progress
from bespoke_schemas.queues import OPTIMIZATION_RUNS, Queue, members, queue_name
from bespoke_workers import orphans, revoking, settings
from bespoke_workers import progress as progress_of_jobs  # CeleryOutbox has a method `progress`
from bespoke_workers.configuration import (
    GO_ON,
    PRUNE,
    REEMBED,
    REEMBED_EVERY_SECONDS,
    RUN_OPTIMIZATION,
    SHORT_JOB_SECONDS,
    configuration,
)
from bespoke_workers.errors import (
    BespokeError,
    Permanent,
    Refused,
    Transient,
    UnexpectedFailure,
    Unusable,
)
from bespoke_workers.observe import events, logging
from bespoke_workers.patience import backoff_seconds

if TYPE_CHECKING:
    from bespoke_workers.runtime import Runtime

REQUEST, LEASED_REQUEST = Task.Request, "bespoke_workers.leased:LeasedRequest"
"""What a worker makes of a message; named, since only workers import it."""
POOLS = ("prefork", "solo")
"""Pools of Celery whose processes do one job after the other."""

P = ParamSpec("P")
ResultT = TypeVar("ResultT", bound=Result)
OutcomeT = TypeVar("OutcomeT", bound="Outcome | None")
Service = Callable[[Any, "Runtime"], Coroutine[object, object, ResultT | None]]

_log = structlog.get_logger("bespoke.jobs")

# Before NumPy is imported, which reads it then: two worker processes on two cores, each with a
# thread for every core, would wait for each other. FAISS is told in memories.index.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class FamilyQueues(Queues):
    """Celery's queues, of which a whole family can be selected by its name."""

    def select(self, include: str | Iterable[str] | None) -> None:
        """Consume from the queues named; ``memories`` means all shards of it."""
        super().select(_expanded(include))

    def deselect(self, exclude: str | Iterable[str] | None) -> None:
        """Do not consume from the queues named."""
        super().deselect(_expanded(exclude))


class FamilyAMQP(AMQP):
    """Celery's view of the broker, with queues in families."""

    queues_cls = FamilyQueues


def _expanded(names: str | Iterable[str] | None) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names or ())
    families = {str(family): members(family) for family in Queue}
    return [member for name in listed for member in families.get(name, (name,))]


def make_celery(read: Callable[[], settings.Settings]) -> Celery:
    """Make a Celery application whose settings are read when they are first needed."""
    app = Celery("bespoke", amqp=FamilyAMQP, set_as_current=False)
    app.add_defaults(lambda: configuration(read()))
    return app


celery = make_celery(settings.load)


class Outcome:
    """A job's answer on its way to the result backend.

    Celery puts the repr of what a task returns into its log and its events, which Flower
    shows, so the repr names the kind of the result and nothing in it.
    """

    def __init__(self, task: str, result: Result, users: Sequence[str] = ()) -> None:
        """``users`` are those whom it is about, by their hashes: whoever erases them finds it."""
        self.task = task
        self.result = result
        self.users = users

    def __json__(self) -> dict[str, Any]:
        """Return the envelope that the client reads; kombu's encoder calls this."""
        envelope = {"task": self.task, "result": self.result.model_dump(mode="json")}
        return {**envelope, "users": list(self.users)} if self.users else envelope

    def __repr__(self) -> str:
        return type(self.result).__name__


class CeleryOutbox:
    """The queue and the result backend, as ``outbox.Outbox`` describes them."""

    def enqueue(self, payload: Payload[Any]) -> None:
        """Send a payload to the queue that it names."""
        celery.send_task(
            payload.task,
            kwargs={"payload": payload.model_dump(mode="json")},
            task_id=str(payload.id),
            queue=queue_name(payload.queue, payload.subject()),
            kwargsrepr=f"<{payload.task}>",
        )

    def run_optimization(
        self, job_id: UUID, *, finetuning: bool = False, answered: bool = True
    ) -> None:
        """Send "run this row" under the job's own id, so that Flower shows one job."""
        celery.send_task(
            RUN_OPTIMIZATION,
            kwargs={"job_id": str(job_id)},
            task_id=str(job_id),
            queue=str(Queue.FINETUNING) if finetuning else OPTIMIZATION_RUNS,
            ignore_result=not answered,
        )

    def go_on(self, round_id: UUID) -> None:
        """Send "plan more users of this round, or end it"."""
        celery.send_task(
            GO_ON, kwargs={"round_id": str(round_id)}, queue=str(Queue.UPKEEP), ignore_result=True
        )

    def reembed(self) -> None:
        """Ask for more spaces to be embedded anew, unless the broker is away."""
        with suppress(OperationalError):
            celery.send_task(REEMBED, queue=str(Queue.UPKEEP), expires=REEMBED_EVERY_SECONDS)

    def prune(self) -> None:
        """Ask for more old records to be deleted, unless the broker is away."""
        with suppress(OperationalError):
            celery.send_task(PRUNE, queue=str(Queue.UPKEEP), ignore_result=True)

    def progress(self, job_id: UUID, task: str, progress: Progress) -> None:
        """Store the progress where the client watches, unless the job's end is there."""
        told = {"task": task, "progress": progress.model_dump(mode="json")}
        progress_of_jobs.tell(celery.backend, str(job_id), told)

    def succeed(self, job_id: UUID, task: str, result: Result) -> None:
        """Store the result of a job whose own message is gone."""
        celery.backend.store_result(str(job_id), Outcome(task, result), "SUCCESS")

    def fail(self, job_id: UUID, error: Exception) -> None:
        """Store the failure of a job whose own message is gone."""
        celery.backend.store_result(str(job_id), error, "FAILURE")


_outbox = CeleryOutbox()


def serves(
    payload_type: type[Payload[ResultT]], *, seconds: float = SHORT_JOB_SECONDS
) -> Callable[[Service[ResultT]], Service[ResultT]]:
    """Make a function the task of a payload, which is stopped and fails after ``seconds``.

    The function gets the validated payload and the process's runtime. It answers with the
    payload's result; None means that the answer comes later, under the same id.
    """

    def register(service: Service[ResultT]) -> Service[ResultT]:
        def task(self: Task[Any, Any], payload: dict[str, Any]) -> Outcome:
            def perform(this: "Runtime") -> Outcome:
                decoded = _decoded(payload_type, payload, str(self.request.id))
                _bind_user(decoded.subject())
                result: ResultT | None = this.run(service(decoded, this), seconds=seconds)
                if result is None:
                    raise Ignore
                return Outcome(payload_type.task, result, _about(decoded))

            return _job(self, perform)

        # Celery gives up after three tries unless the task itself says never.
        celery.task(name=payload_type.task, bind=True, max_retries=None, throws=(Permanent,))(task)
        return service

    return register


Internal = Callable[Concatenate["Runtime", P], Coroutine[object, object, Outcome | None]]


def internal(
    name: str,
    *,
    acks_late: bool = True,
    seconds: float | None = SHORT_JOB_SECONDS,
    answers: bool = False,
) -> Callable[[Internal[P]], Internal[P]]:
    """Make a function a task that no payload describes: its arguments hold ids, not contents."""

    def register(service: Internal[P]) -> Internal[P]:
        def task(self: Task[Any, Any], /, *args: P.args, **kwargs: P.kwargs) -> Outcome | None:
            def perform(this: "Runtime") -> Outcome | None:
                outcome = this.run(service(this, *args, **kwargs), seconds=seconds)
                if outcome is None and answers:
                    raise Ignore  # the answer under this id is, or will be, another delivery's
                return outcome

            return _job(self, perform)

        celery.task(
            name=name,
            bind=True,
            max_retries=None,
            throws=(Permanent,),
            # Beat would subscribe to the result of each job that it sends, and never let go.
            ignore_result=not answers,
            acks_late=acks_late,
            reject_on_worker_lost=acks_late,
            Request=REQUEST if acks_late else LEASED_REQUEST,
        )(task)
        return service

    return register


def _job(task: Task[Any, Any], perform: Callable[["Runtime"], OutcomeT]) -> OutcomeT:
    """Do one delivery of a job: log it, count it, and turn its failures into ours."""
    # Tasks have imported both. Who only asks, looks or schedules never does: it takes a second.
    from bespoke_workers import runtime
    from bespoke_workers.database import deliveries

    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(job=task.request.id, task=task.name)
    try:
        this = runtime.current(settings.load(), _outbox)
        if (task.request.delivery_info or {}).get("redelivered"):
            this.run(
                deliveries.count(this.database, this.settings, str(task.request.id), task.name)
            )
        return perform(this)
    except (Transient, Unusable) as error:
        raise _again(task, error) from None
    except (BespokeError, Ignore):
        raise
    except Exception as error:  # noqa: BLE001  # a bug's text may hold contents: it ends here
        _log.error("unexpected failure", error=type(error).__name__, places=logging.places(error))
        raise UnexpectedFailure.of(error, task.name) from None


def _again(task: Task[Any, Any], error: BespokeError) -> Exception:
    """Send the job again for later; it is never given up, since an outage is not its fault."""
    delay = backoff_seconds(task.request.retries + 1)
    _log.warning("try again", reason=str(error), delay_s=round(delay, 1))
    try:
        # Without a kwargsrepr of ours, Celery makes one of the contents, and Flower shows it.
        hidden: dict[str, Any] = {"kwargsrepr": f"<{task.name}>"}
        return task.retry(countdown=delay, throw=False, **hidden)
    except (OperationalError, Reject):
        # Redis is away too: left unacknowledged, the message comes back by itself.
        return Reject(reason="broker away", requeue=True)


def _decoded(
    payload_type: type[Payload[ResultT]], payload: dict[str, Any], task_id: str
) -> Payload[ResultT]:
    """Validate what came over the wire: the worker trusts nobody."""
    try:
        decoded = payload_type.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        # Below a field come the sender's own keys, which are contents.
        field = str(first["loc"][0]) if first["loc"] else ""
        place = field if field in payload_type.model_fields else "payload"
        raise Refused(f"{payload_type.task}: {place}: {first['msg']}") from None
    if str(decoded.id) != task_id:
        raise Refused(f"{payload_type.task}: the payload's id is not the message's id")
    return decoded


def _about(payload: Payload[Any]) -> list[str]:
    """Return the hashes of those whom a payload is about: a user, the owner of a shared space."""
    about = {payload.subject(), getattr(payload, "user_id", None)}
    return sorted(events.hashed(one) for one in about if isinstance(one, str))


def _bind_user(user_id: str | None) -> None:
    if user_id is not None:
        structlog.contextvars.bind_contextvars(user=events.hashed(user_id))


@signals.worker_init.connect
def _fit_pool(sender: Any, **_: object) -> None:
    """Have claims kept from a thread where tasks run in the worker's own loop.

    A pool whose tasks share a process ends the worker: so would they share the process's event
    loop and connections.
    """
    pool = get_implementation(sender.pool_cls).__module__.rpartition(".")[2]
    if pool not in POOLS:
        raise SystemExit(
            f"bespoke: got the pool {pool!r}, and jobs need a process to themselves; "
            f"start the worker with --pool {' or '.join(POOLS)}"
        )
    if pool == "solo":
        options = sender.app.conf.broker_transport_options
        sender.app.conf.broker_transport_options = {**options, "tasks_in_loop": True}


signals.worker_init.connect(revoking.install)
signals.worker_init.connect(orphans.parent.remember)
signals.worker_process_init.connect(orphans.parent.follow)


@signals.setup_logging.connect
def _configure_logging(loglevel: int = 20, **_: object) -> None:
    """Log in our format instead of Celery's."""
    logging.configure(loglevel)


@signals.task_postrun.connect
def _leave_job(**_: object) -> None:
    """Let no later line carry the job; a solo worker's own lines come from the same thread."""
    structlog.contextvars.clear_contextvars()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _close_runtime(**_: object) -> None:
    from bespoke_workers import runtime

    runtime.close()
