"""`bespoke migrate`: bring the database to the schema that this version needs."""

import click

from bespoke_workers import settings


@click.command()
def migrate() -> None:
    """Bring the database to the schema that this version needs."""
    url = settings.load().database()
    from bespoke_workers.database import migrate as migrations

    before = migrations.current(url)
    migrations.upgrade(url)
    after = migrations.head()
    click.echo(f"at {after} already" if before == after else f"migrated from {before} to {after}")
