"""Runs that are to be told to MLflow, and the kinds of errors that they ended with."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column("optimization_job", sa.Column("error_type", sa.Text(), nullable=True))
    op.add_column(
        "optimization_job", sa.Column("track_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_index(
        "optimization_job_untold",
        "optimization_job",
        ["track_at"],
        postgresql_where=sa.text("track_at IS NOT NULL"),
    )
