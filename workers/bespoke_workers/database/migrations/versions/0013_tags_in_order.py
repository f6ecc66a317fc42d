"""Each tag's versions in the order in which they are asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TAGS_OF = """
INSERT INTO program_version_tag (version_id, tag, user_id, saved_at, score, program, optimizer)
SELECT version.id, tag, coalesce(version.user_id, ''), version.saved_at, version.score,
    version.program, version.optimizer
FROM {versions} AS version CROSS JOIN unnest(version.tags) AS tag
WHERE version.checkpoint IS NULL
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    """Bring the schema up."""
    op.drop_index("program_version_by_tag", "program_version")
    op.create_table(
        "program_version_tag",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("optimizer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["version_id"], ["program_version.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version_id", "tag"),
    )
    op.execute(TAGS_OF.format(versions="program_version"))
    op.create_index(
        "program_version_tag_in_order",
        "program_version_tag",
        ["user_id", "tag", "saved_at", "version_id", "score", "program", "optimizer"],
    )
    _keep_up_to_date()


def _keep_up_to_date() -> None:
    # Versions come in by several ways, and never change; so this cannot be forgotten in one.
    op.execute(
        "CREATE FUNCTION program_version_tags() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        + TAGS_OF.format(versions="saved")
        + "; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER program_version_tags AFTER INSERT ON program_version "
        "REFERENCING NEW TABLE AS saved FOR EACH STATEMENT "
        "EXECUTE FUNCTION program_version_tags()"
    )
