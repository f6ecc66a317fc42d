"""Alembic's entry point: runs the migrations on the connection that migrate.py hands over."""

from alembic import context
from sqlmodel import SQLModel

from bespoke_workers.database import tables  # noqa: F401  # fills SQLModel's metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transaction_per_migration=False,
)
context.run_migrations()
