"""Feedback in numbers, and how far it has led to optimizations."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COUNTERS = ("requested_total", "approved_total", "corrected_total", "rejected_total")


def upgrade() -> None:
    """Bring the schema up."""
    for name in COUNTERS:
        column = sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        op.add_column("learner", column)
