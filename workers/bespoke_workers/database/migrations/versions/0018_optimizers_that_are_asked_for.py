"""Optimizations for which an optimizer is named."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column("optimization_job", sa.Column("optimizer", sa.Text(), nullable=True))
    op.add_column("optimization_job", sa.Column("options", postgresql.JSONB(), nullable=True))
