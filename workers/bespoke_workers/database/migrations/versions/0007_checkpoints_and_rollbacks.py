"""Checkpoints, and the moves of a pointer that a rollback undoes."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column("program_version", sa.Column("checkpoint", sa.Text(), nullable=True))
    op.add_column("program_version", sa.Column("checkpoint_of", sa.Uuid(), nullable=True))
    op.create_index(
        "program_version_by_checkpoint",
        "program_version",
        ["program", "user_id", "checkpoint", "saved_at"],
        postgresql_where=sa.text("checkpoint IS NOT NULL"),
    )
    op.alter_column("active_program", "version_id", existing_type=sa.Uuid(), nullable=True)
    op.create_index("active_program_by_version", "active_program", ["version_id"])
    _create_activation()


def _create_activation() -> None:
    op.create_table(
        "activation",
        sa.Column("pointer_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "moved_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["pointer_id"], ["active_program.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["version_id"], ["program_version.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pointer_id", "generation"),
    )
    op.create_index("activation_by_version", "activation", ["version_id"])
    # How each of these came into use was not kept.
    op.execute(
        "INSERT INTO activation (pointer_id, generation, version_id, reason, moved_at) "
        "SELECT id, generation, version_id, 'activated', moved_at FROM active_program"
    )
