"""`bespoke up`: everything on one machine, until Ctrl-C."""

import signal
from types import FrameType

import click

from bespoke_workers import settings
from bespoke_workers.cli.machine import Machine


@click.command()
@click.option("-c", "--concurrency", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--flower/--no-flower", default=True, show_default=True)
@click.option("--beat/--no-beat", default=True, show_default=True)
def up(concurrency: int, runs: int, flower: bool, beat: bool) -> None:
    """Run PostgreSQL, Redis, workers, beat and Flower on this machine until Ctrl-C.

    CONCURRENCY processes do the jobs of memories, as many the other short jobs, and RUNS
    processes the optimizations and exports.
    Servers that BESPOKE_DATABASE_URL and BESPOKE_BROKER_URL name are used instead of local
    ones. A worker that dies is started again, and so is a local server.
    """
    # SIGINT too: a shell that runs this in the background of a script has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with Machine(settings.load()) as machine:
            machine.start_processes(concurrency, runs, flower=flower, beat=beat)
            machine.watch()
    except KeyboardInterrupt:
        click.echo("stopped")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
