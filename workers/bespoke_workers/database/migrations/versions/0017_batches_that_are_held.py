"""Batches that are paused or have a budget, and the order in which runs ended."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column(
        "batch",
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("batch", sa.Column("max_lm_calls", sa.BigInteger(), nullable=True))
    op.add_column("batch", sa.Column("max_usd", sa.Double(), nullable=True))
    op.add_column("batch", sa.Column("max_seconds", sa.Double(), nullable=True))
    op.add_column("batch", sa.Column("over_budget", sa.Text(), nullable=True))
    op.create_index("optimization_job_by_finish", "optimization_job", ["finished_at"])
    op.create_index("batch_by_finish", "batch", ["finished_at"])
