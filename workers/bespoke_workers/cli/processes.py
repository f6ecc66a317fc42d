"""`bespoke worker`, `beat` and `flower`: one process of each kind, in the foreground."""

import secrets

import click

from bespoke_schemas.queues import Queue, members
from bespoke_workers import settings
from bespoke_workers.cli import preflight
from bespoke_workers.errors import Misconfigured

ALL_QUEUES = ",".join(Queue)


@click.command()
@click.option("-q", "--queues", default=ALL_QUEUES, show_default=True, help="Comma-separated.")
@click.option("-x", "--exclude", default="", help="Queues of these families not to consume.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("-P", "--pool", type=click.Choice(["prefork", "solo"]), default="prefork")
@click.option("--prefetch", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("-n", "--name", default="worker", show_default=True, help="Shown in Flower.")
@click.option("-l", "--loglevel", default="INFO", show_default=True)
def worker(
    queues: str,
    exclude: str,
    concurrency: int,
    pool: str,
    prefetch: int,
    name: str,
    loglevel: str,
) -> None:
    """Run a worker until it is told to stop (Ctrl-C or SIGTERM: it finishes what it has).

    Each of its CONCURRENCY processes has at most PREFETCH messages waiting; give 1 to a
    worker of long jobs, so that none waits behind one while another worker is idle.
    """
    _check_queues("--queues", queues)
    if exclude:
        _check_queues("--exclude", exclude)
    config = settings.load()
    preflight.check_broker(config)
    preflight.check_database(config)
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
