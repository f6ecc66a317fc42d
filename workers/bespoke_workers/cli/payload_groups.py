"""The groups of payloads' commands. Nothing of a payload is imported before one is asked for."""

from typing import Any

import click

from bespoke_schemas import payload_types
from bespoke_workers.cli import places

WATCHED = ("jobs", "batches")
"""Groups with a command that follows what runs already."""


class PayloadGroup(click.Group):
    """A group whose commands are made of the payloads that are declared."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return sorted([*places.commands(str(self.name)), *self._local()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make one command."""
        from bespoke_workers.cli import batch_watch, payload_commands

        if cmd_name in self._local():
            return batch_watch.watch() if self.name == "batches" else payload_commands.watch()
        kind = places.commands(str(self.name)).get(cmd_name)
        return None if kind is None else payload_commands.command(cmd_name, kind)

    def _local(self) -> list[str]:
        return ["watch"] if self.name in WATCHED else []


class OwnCommand(click.Command):
    """A payload's command outside of any group, made when it is used."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help=places.OWN_HELP[name])

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Return the context of the command that is made of the payload."""
        from bespoke_workers.cli import payload_commands

        kind = payload_types()[places.OWN[str(self.name)]]
        made = payload_commands.command(str(self.name), kind)
        return made.make_context(info_name, args, parent, **extra)
