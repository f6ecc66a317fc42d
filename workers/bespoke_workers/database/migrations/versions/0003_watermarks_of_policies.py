"""Watermarks of kinds, and the policy that watermarks are valid under."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    marks = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())
    op.add_column("memory_space", sa.Column("kind_marks", marks, nullable=True))
    op.add_column("memory_space", sa.Column("policy_digest", sa.Text(), nullable=True))
    compacted = sa.Column("compacted_version", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("memory_space", compacted)
