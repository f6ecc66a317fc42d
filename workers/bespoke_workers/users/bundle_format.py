"""The format."""

FORMAT = "bespoke-user"
