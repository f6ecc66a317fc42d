"""The `bespoke` command."""

from bespoke_workers.cli.main import main

__all__ = ["main"]
