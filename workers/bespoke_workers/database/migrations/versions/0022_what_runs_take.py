"""What each optimization may take, and what it has taken however it ended."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

COUNTS = ("lm_calls", "prompt_tokens", "completion_tokens", "unpriced_calls")
AMOUNTS = ("cost_usd", "seconds")


def upgrade() -> None:
    """Bring the schema up; what results tell of earlier optimizations is taken over."""
    for name in COUNTS:
        column = sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        op.add_column("optimization_job", column)
    for name in AMOUNTS:
        column = sa.Column(name, sa.Double(), server_default="0", nullable=False)
        op.add_column("optimization_job", column)
    op.add_column("optimization_job", sa.Column("ran_tier", sa.Text(), nullable=True))
    for table, prefix in (("optimization_job", "max"), ("batch", "run_max")):
        for name in ("lm_calls", "tokens"):
            op.add_column(table, sa.Column(f"{prefix}_{name}", sa.BigInteger(), nullable=True))
        for name in ("usd", "seconds"):
            op.add_column(table, sa.Column(f"{prefix}_{name}", sa.Double(), nullable=True))
    op.create_index("optimization_job_by_start", "optimization_job", ["started_at"])
    op.execute(
        """
        UPDATE optimization_job SET
            lm_calls = coalesce((result->>'lm_calls')::bigint, 0),
            prompt_tokens = coalesce((result->>'prompt_tokens')::bigint, 0),
            completion_tokens = coalesce((result->>'completion_tokens')::bigint, 0),
            cost_usd = coalesce((result->>'cost_usd')::float8, 0),
            unpriced_calls = CASE WHEN coalesce((result->>'cost_usd')::float8, 0) = 0
                THEN coalesce((result->>'lm_calls')::bigint, 0) ELSE 0 END,
            seconds = coalesce((result->>'seconds')::float8, 0),
            ran_tier = coalesce(result->>'tier', tier)
        WHERE result IS NOT NULL
        """
    )
