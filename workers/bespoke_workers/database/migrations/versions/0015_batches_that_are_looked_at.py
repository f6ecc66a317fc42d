"""What batches spent, and the order in which they are listed."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ADD_UP = """
    UPDATE batch SET (lm_calls, cost_usd) = (
        SELECT coalesce(sum(CAST(result ->> 'lm_calls' AS bigint)), 0),
            coalesce(sum(CAST(result ->> 'cost_usd' AS double precision)), 0)
        FROM optimization_job WHERE batch_id = batch.id AND finished_at IS NOT NULL
    )
"""


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column(
        "optimization_job",
        sa.Column("counted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column(
        "batch", sa.Column("lm_calls", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("batch", sa.Column("cost_usd", sa.Double(), server_default="0", nullable=False))
    op.execute(ADD_UP)
    op.execute("UPDATE optimization_job SET counted = true WHERE finished_at IS NOT NULL")
    op.create_index(
        "optimization_job_uncounted",
        "optimization_job",
        ["batch_id"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND NOT counted"),
    )
    op.create_index("batch_by_start", "batch", ["created_at", "id"])
