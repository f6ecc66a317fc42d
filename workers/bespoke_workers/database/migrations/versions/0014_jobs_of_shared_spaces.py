"""Jobs of shared spaces, whose results may name a user who is to be erased."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.create_index(
        "job_of_shared_space",
        "job",
        ["user_id"],
        postgresql_where=sa.text("starts_with(user_id, chr(31))"),
    )
