"""The `bespoke` command."""
