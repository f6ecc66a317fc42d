"""`bespoke worker`, `beat` and `flower`: one process of each kind, in the foreground."""

import secrets
import sys

import click

from bespoke_schemas.queues import Queue, members
from bespoke_workers import settings
from bespoke_workers.cli import preflight
from bespoke_workers.cli.crew import Crew
from bespoke_workers.errors import Misconfigured

ALL_QUEUES = ",".join(Queue)


@click.command()
@click.option("-q", "--queues", default=ALL_QUEUES, show_default=True, help="Comma-separated.")
@click.option("-x", "--exclude", default="", help="Queues of these families not to consume.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "-P",
    "--pool",
    type=click.Choice(["prefork", "solo"]),
    default="prefork",
    show_default=True,
    help="solo: each process is a worker of its own, which suits memories.",
)
@click.option("--prefetch", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("-n", "--name", default="worker", show_default=True, help="Shown in Flower.")
@click.option("-l", "--loglevel", default="INFO", show_default=True)
@click.option("--checked", is_flag=True, hidden=True)  # by the parent, which starts us again
def worker(
    queues: str,
    exclude: str,
    concurrency: int,
    pool: str,
    prefetch: int,
    name: str,
    loglevel: str,
    checked: bool,
) -> None:
    """Run a worker until it is told to stop (Ctrl-C or SIGTERM: it finishes what it has).

    Each of its CONCURRENCY processes has at most PREFETCH messages waiting; give 1 to a
    worker of long jobs, so that none waits behind one while another worker is idle.

    The queues of memories are divided among the workers that consume them, so that one of
    them at a time does a user's jobs. With --pool solo that is one process: CONCURRENCY of
    them are started, called NAME-1 and so on, and started again when they die.
    """
    _check_queues("--queues", queues)
    if exclude:
        _check_queues("--exclude", exclude)
    config = settings.load()
    if not checked:
        preflight.check_tracking(config)
        preflight.check_broker(config)
        preflight.check_database(config)
    if pool == "solo" and concurrency > 1:
        each = ["-q", queues, "-x", exclude, "-P", pool, "-c1", "-l", loglevel]
        each += ["--prefetch", str(prefetch), "--checked"]
        names = [f"{name}-{number}" for number in range(1, concurrency + 1)]
        sys.exit(Crew({one: ["worker", "-n", one, *each] for one in names}).run())
    from bespoke_workers.app import celery

    arguments = ["worker", f"--queues={queues}", f"--hostname={name}@%h"]
    arguments += [f"--concurrency={concurrency}", f"--pool={pool}", f"--loglevel={loglevel}"]
    arguments.append(f"--prefetch-multiplier={prefetch}")
    if exclude:
        arguments.append(f"--exclude-queues={exclude}")
    celery.worker_main([*arguments, "--without-mingle", "--events"])


@click.command()
@click.option("-l", "--loglevel", default="INFO", show_default=True)
def beat(loglevel: str) -> None:
    """Run the clock of the nightly batches; two of them do no harm."""
    config = settings.load()
    preflight.check_broker(config)
    try:
        config.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"BESPOKE_HOME: {str(config.home)!r} cannot be made ({error.strerror}); "
            "set it to a directory that you may write"
        ) from None
    from bespoke_workers.app import celery

    celery.start(["beat", f"--loglevel={loglevel}", "--pidfile="])


@click.command()
@click.option("--address", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="Default: 5555.")
def flower(address: str, port: int | None) -> None:
    """Show queues, workers and jobs in a browser.

    BESPOKE_FLOWER_BASIC_AUTH (user:password) guards its pages. Without it, only an address
    of this machine is served: whoever can open the pages can stop jobs.
    """
    config = settings.load()
    secret = config.flower_basic_auth
    if secret is None and address not in {"127.0.0.1", "::1", "localhost"}:
        raise Misconfigured(
            f"BESPOKE_FLOWER_BASIC_AUTH is not set, and --address {address} is open to others; "
            "set it to user:password"
        )
    preflight.check_broker(config)
    from bespoke_workers.app import celery

    arguments = [
        "flower",
        f"--address={address}",
        f"--port={config.flower_port if port is None else port}",
    ]
    if secret is not None:
        arguments.append(f"--basic-auth={secret.get_secret_value()}")
    # Flower signs its cookies with a default that everybody knows unless it is given one.
    arguments.append(f"--cookie-secret={secrets.token_urlsafe(32)}")
    celery.start(arguments)


def _check_queues(option: str, queues: str) -> None:
    known = {name for family in Queue for name in (str(family), *members(family))}
    for name in queues.split(","):
        if name not in known:
            raise Misconfigured(f"{option}: no queue is called {name!r}; known: {ALL_QUEUES}")
