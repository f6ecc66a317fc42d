"""The group of commands, and how their failures are told: one line, and an exit code.

Exit codes: 0 done, 1 something failed, 2 the command line or a setting is wrong.
"""

import sys

import click

from bespoke_workers import __version__
from bespoke_workers.cli import places
from bespoke_workers.cli.migrate import migrate
from bespoke_workers.cli.payload_groups import OwnCommand, PayloadGroup
from bespoke_workers.cli.processes import beat, flower, worker
from bespoke_workers.cli.report import report
from bespoke_workers.cli.status import status
from bespoke_workers.cli.up import up
from bespoke_workers.errors import BespokeError, Misconfigured


class Bespoke(click.Group):
    """The commands, those made of payloads included; they fail with one line, not a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return sorted({*super().list_commands(ctx), *places.GROUPS, *places.OWN})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command or group."""
        if cmd_name in places.GROUPS:
            return PayloadGroup(cmd_name, help=places.GROUPS[cmd_name])
        if cmd_name in places.OWN:
            return OwnCommand(cmd_name)
        return super().get_command(ctx, cmd_name)

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


@click.group(cls=Bespoke, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bespoke")
def main() -> None:
    """Run and watch the workers that keep a DSPy program for each user, and ask them.

    Settings are environment variables: BESPOKE_DATABASE_URL, BESPOKE_BROKER_URL and more,
    listed in docs/settings.md. Without them, the local stack of `bespoke up` is used.
    """


for command in (up, status, worker, beat, flower, migrate, report):
    main.add_command(command)
