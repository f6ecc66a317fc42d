"""The archive in columns and without embeddings, and one index less for each memory."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_FILL = """
UPDATE memory_archive SET content = memory ->> 'content', kind = memory ->> 'kind',
    tags = ARRAY(SELECT jsonb_array_elements_text(memory -> 'tags')),
    meta = memory -> 'meta', facts = memory ->> 'facts',
    access_count = CAST(memory ->> 'access_count' AS bigint),
    last_accessed_at = CAST(memory ->> 'last_accessed_at' AS timestamptz),
    created_at = CAST(memory ->> 'created_at' AS timestamptz),
    updated_at = CAST(memory ->> 'updated_at' AS timestamptz),
    renewed_at = CAST(memory ->> 'renewed_at' AS timestamptz)
"""
_NEEDED = ("content", "kind", "facts", "created_at", "updated_at")


def upgrade() -> None:
    """Bring the schema up."""
    moment, none = sa.DateTime(timezone=True), sa.text("'{}'::text[]")
    for column in (
        sa.Column("content", sa.Text()),
        sa.Column("kind", sa.Text()),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=none, nullable=False),
        sa.Column(
            "meta", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("facts", sa.Text()),
        sa.Column("access_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_accessed_at", moment),
        sa.Column("created_at", moment),
        sa.Column("updated_at", moment),
        sa.Column("renewed_at", moment),
    ):
        op.add_column("memory_archive", column)
    op.execute(_FILL)
    for name in _NEEDED:
        op.alter_column("memory_archive", name, nullable=False)
    op.drop_column("memory_archive", "memory")
    op.drop_column("memory_archive", "embedding")
    op.drop_column("memory_space", "embedder_since")
    op.drop_index("memory_by_age", "memory")
