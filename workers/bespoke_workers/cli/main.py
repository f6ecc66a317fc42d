"""The group of commands, and how their failures are told: one line, and an exit code.

Exit codes: 0 done, 1 something failed, 2 the command line or a setting is wrong.
"""

import sys

import click

from bespoke_workers import __version__
from bespoke_workers.cli.migrate import migrate
from bespoke_workers.cli.processes import beat, flower, worker
from bespoke_workers.cli.status import status
from bespoke_workers.cli.up import up
from bespoke_workers.errors import BespokeError, Misconfigured


class OneLineErrors(click.Group):
    """A group whose commands fail with one line instead of a traceback."""

    def invoke(self, context: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(context)
        except Misconfigured as error:
            click.echo(f"bespoke: {error}", err=True)
            sys.exit(2)
        except BespokeError as error:
            click.echo(f"bespoke: {error}", err=True)
            sys.exit(1)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bespoke")
def main() -> None:
    """Run and watch the workers that keep a DSPy program for each user.

    Settings are environment variables: BESPOKE_DATABASE_URL, BESPOKE_BROKER_URL and more,
    listed in docs/settings.md. Without them, the local stack of `bespoke up` is used.
    """


for command in (up, status, worker, beat, flower, migrate):
    main.add_command(command)
