"""Jobs in the order of their ends: all, a user's, and those that had no effect."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.drop_index("job_by_user", "job")
    op.drop_index("job_by_finish", "job")
    op.create_index("job_by_user", "job", ["user_id", "finished_at", "id"])
    op.create_index("job_by_finish", "job", ["finished_at", "id"])
    op.create_index(
        "job_without_effect",
        "job",
        ["finished_at", "id"],
        postgresql_where=sa.text("state IN ('failed', 'parked', 'cancelled')"),
    )
