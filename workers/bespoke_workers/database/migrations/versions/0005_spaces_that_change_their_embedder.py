"""Spaces that change their embedder, and embeddings that are always as long as their space says."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    since = sa.Column("embedder_since", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("memory_space", since)
    op.create_index("memory_space_by_embedder", "memory_space", ["embedder", "dim"])
    op.create_unique_constraint("memory_space_dim", "memory_space", ["user_id", "dim"])
    _check_lengths()
    _create_tables()


def _check_lengths() -> None:
    dim = sa.Column("dim", sa.Integer(), sa.Computed("octet_length(embedding) / 2", persisted=True))
    op.add_column("memory", dim)
    op.create_check_constraint("memory_whole", "memory", "octet_length(embedding) % 2 = 0")
    op.drop_constraint("memory_user_id_fkey", "memory", type_="foreignkey")
    op.create_foreign_key(
        "memory_in_space",
        "memory",
        "memory_space",
        ["user_id", "dim"],
        ["user_id", "dim"],
        deferrable=True,
    )


def _create_tables() -> None:
    op.create_table(
        "embedder_target",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("embedder", sa.Text(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "reembedding",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("swapped_version", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["memory_space.user_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "memory_reembedding",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column("embedder", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["memory_space.user_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "memory_id", "embedder"),
    )
