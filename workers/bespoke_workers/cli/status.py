"""`bespoke status`: whether servers and workers are there, and how much work waits."""

import json
import sys
import time
from dataclasses import asdict, dataclass, field

import click

from bespoke_schemas.queues import Queue, members
from bespoke_workers import settings
from bespoke_workers.cli import preflight
from bespoke_workers.errors import BespokeError
from bespoke_workers.keys import UNACKED
from bespoke_workers.settings import Settings

PING_SECONDS = 1.0
AGAIN_SECONDS = 0.5
HELD_AT_ONCE = 10_000
"""Messages in workers' hands that are looked at; each holds a few."""


@dataclass(frozen=True)
class Status:
    """What was seen. ``queues`` maps each family to its waiting messages.

    ``busy`` are families whose worker does not answer, and has jobs in its hands.
    """

    ok: bool
    problems: list[str]
    workers: dict[str, list[str]]
    queues: dict[str, int]
    busy: list[str] = field(default_factory=list)

    def names(self) -> set[str]:
        """Return the workers' names without their machines'."""
        return {name.partition("@")[0] for name in self.workers}


@click.command()
@click.option("--wait", type=float, default=0.0, help="Seconds to wait until all is well.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def status(wait: float, as_json: bool) -> None:
    """Tell whether servers and workers are there; exit code 0 if all is well, else 1."""
    deadline = time.monotonic() + wait
    config = settings.load()
    seen = look(config)
    while not seen.ok and time.monotonic() < deadline:
        time.sleep(AGAIN_SECONDS)
        seen = look(config)
    click.echo(json.dumps(asdict(seen)) if as_json else _text(seen))
    sys.exit(0 if seen.ok else 1)


def look(config: Settings) -> Status:
    """Look at the servers, the workers and the queues once."""
    try:
        problems = preflight.problems(config)
    except BespokeError as error:
        problems = [str(error)]
    if problems:
        return Status(False, problems, {}, {})
    try:
        return _seen(config)
    except broker_failures() as error:
        gone = f"BESPOKE_BROKER_URL: Redis went away meanwhile ({type(error).__name__})"
        return Status(False, [gone], {}, {})


def broker_failures() -> tuple[type[Exception], ...]:
    """Return what is raised where Redis is away, by Celery and by redis-py."""
    import redis
    from kombu.exceptions import OperationalError

    return (redis.RedisError, OperationalError, OSError)


def _seen(config: Settings) -> Status:
    workers, problems = _workers(config), []
    served = {family for names in workers.values() for family in names}
    busy = {_family(name) for name in held(config)} - served
    missing = [str(family) for family in _needed(config) if str(family) not in served | busy]
    if missing:
        problems.append(f"no worker consumes: {', '.join(missing)}; run `bespoke worker`")
    return Status(not problems, problems, workers, _waiting(config), sorted(busy))


def _needed(config: Settings) -> list[Queue]:
    """Return the families that messages may come to: without a provider nothing is fine-tuned."""
    tunes = config.finetune_provider is not None
    return [family for family in Queue if tunes or family is not Queue.FINETUNING]


def consumed(config: Settings) -> dict[str, set[str]]:
    """Return the queues that each worker consumes, of the workers that answer."""
    from bespoke_workers.app import make_celery

    inspect = make_celery(lambda: config).control.inspect(timeout=PING_SECONDS)
    answers = inspect.active_queues() or {}
    return {name: {queue["name"] for queue in queues} for name, queues in answers.items()}


def held(config: Settings) -> set[str]:
    """Return the queues of jobs in the hands of workers that live.

    A worker of the pool ``solo`` answers nothing while it works, but a thread of its own goes on
    with the signs of life for what it holds.
    """
    import redis

    with redis.Redis.from_url(config.broker()) as client:
        seconds, _ = client.time()
        alive = (f"{UNACKED}_index", seconds - config.claim_timeout_s, "+inf")
        receipts = client.zrangebyscore(*alive, start=0, num=HELD_AT_ONCE)
        entries = client.hmget(UNACKED, receipts) if receipts else []
    return {json.loads(entry)[2] for entry in entries if entry}


def _workers(config: Settings) -> dict[str, list[str]]:
    return {
        name: sorted({_family(queue) for queue in queues})
        for name, queues in sorted(consumed(config).items())
    }


def _family(queue: str) -> str:
    return next((str(family) for family in Queue if queue in members(family)), queue)


def _waiting(config: Settings) -> dict[str, int]:
    import redis

    with redis.Redis.from_url(config.broker()) as client:
        return {
            str(family): sum(int(client.llen(name)) for name in members(family)) for family in Queue
        }


def _text(seen: Status) -> str:
    lines = [f"problem: {problem}" for problem in seen.problems]
    lines += [f"worker {name}: {', '.join(queues)}" for name, queues in seen.workers.items()]
    if seen.busy:
        lines.append(f"busy: {', '.join(seen.busy)}")
    if seen.queues:
        counts = ", ".join(f"{name} {count}" for name, count in seen.queues.items())
        lines.append(f"waiting: {counts}")
    lines.append("all is well" if seen.ok else "not well")
    return "\n".join(lines)
