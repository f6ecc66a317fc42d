"""Models that are trained for users, and the runs that train them."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


UNUSED = """
CREATE FUNCTION model_is_unused() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE user_model SET look_at = now() WHERE id = OLD.id AND user_id = OLD.user_id;
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER version_had_a_model AFTER DELETE ON program_version
FOR EACH ROW WHEN (OLD.optimizer = 'BootstrapFinetune') EXECUTE FUNCTION model_is_unused()
"""


def upgrade() -> None:
    """Bring the schema up."""
    op.add_column(
        "optimization_job",
        sa.Column("finetuning", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    now = sa.text("now()")
    op.create_table(
        "user_model",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("api_base", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("file_id", sa.Text(), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("examples", sa.Integer(), nullable=False),
        sa.Column("data_bytes", sa.BigInteger(), nullable=False),
        sa.Column("data_sha256", sa.Text(), nullable=False),
        sa.Column("trained_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("user_model_by_owner", "user_model", ["user_id", "program"])
    op.create_index("user_model_by_look", "user_model", ["look_at"])
    op.execute(UNUSED)
    op.execute(TRIGGER)
