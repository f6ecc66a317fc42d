"""Ages that are renewed, and spaces by their oldest memory."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column("memory", sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("memory_space_by_age", "memory_space", ["oldest_created_at"], unique=False)
