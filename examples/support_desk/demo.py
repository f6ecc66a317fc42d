"""The demo: real workers learn how five people of a support desk label their messages.

``make demo`` runs it on the sample beside this file, ``make demo INPUT=path`` on a CSV file
with the columns ``text,category``. Everything it starts it stops; what it wrote stays under
``.bespoke/demo`` in the working directory until the next run.
"""

import contextlib
import os
import shutil
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console

from bespoke_client import BespokeClientError, Client
from bespoke_workers import settings
from bespoke_workers.cli.machine import Machine
from bespoke_workers.errors import BespokeError
from examples.support_desk import report, standin_lm
from examples.support_desk.desk import BadCsv, Desk, desks, load
from examples.support_desk.work import LeftToTheNight, do_the_work

SAMPLE = Path(__file__).with_name("sample.csv")
HOME = Path(".bespoke/demo")
WORKERS = 2
NIGHT_SIZES = (30, 120)  # examples of two people more, whom the night's batches optimize

console = Console(highlight=False)


def main() -> int:
    """Run the demo and return the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    parser = ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--input", type=Path, default=SAMPLE, help="CSV of text,category")
    path: Path = parser.parse_args().input
    # SIGINT too: a shell that runs this in the background of a script has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        messages = load(path)
        people = desks(messages)
        night = [
            LeftToTheNight(f"night-{desk.user_id}", desk) for desk in desks(messages, NIGHT_SIZES)
        ]
        run(path, people, night)
    except BadCsv as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (BespokeError, BespokeClientError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    return 0


def run(path: Path, people: list[Desk], night: list[LeftToTheNight]) -> None:
    """Start everything, do the work through the queue, print the report, stop everything."""
    shutil.rmtree(HOME, ignore_errors=True)
    with language_model() as model:
        os.environ.update(environment())
        config = settings.load()
        with Machine(config, tell=lambda line: console.print(f"  {line}")) as machine:
            machine.start_processes(WORKERS, WORKERS, flower=False, beat=False)
            with Client() as client:
                done = do_the_work(client, people, night, console)
    report.show(console, path, model, config.embedder, done)


@contextlib.contextmanager
def language_model() -> Iterator[str]:
    """Use the LM that BESPOKE_LM names, else the stand-in; yields how the report calls it."""
    named = os.environ.get("BESPOKE_LM")
    if named:
        yield named
        return
    with standin_lm.standin_process() as url:
        os.environ["BESPOKE_LM"] = "openai/standin"
        os.environ["BESPOKE_LM_API_BASE"] = url
        os.environ["BESPOKE_LM_API_KEY"] = "none"
        yield report.STANDIN


def environment() -> dict[str, str]:
    """Return the settings of the workers that the demo starts."""
    return {
        "BESPOKE_HOME": str(HOME.absolute()),
        "BESPOKE_PROGRAMS": "examples.support_desk.program",
        "BESPOKE_MAX_MEMORIES": str(report.MAX_MEMORIES),
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    }


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
