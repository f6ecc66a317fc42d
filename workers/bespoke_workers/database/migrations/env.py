"""Alembic's entry point: runs the migrations on the connection that migrate.py hands over."""

from alembic import context

from bespoke_workers.database import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.SQLModel.metadata,
    transaction_per_migration=False,
)
context.run_migrations()
