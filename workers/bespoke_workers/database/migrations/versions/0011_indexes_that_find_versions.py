"""Indexes that give one owner's versions in the order in which they are asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NO_CHECKPOINT = sa.text("checkpoint IS NULL")
OF_ALL = {
    "by_owner": ["user_id", "saved_at", "id", "score", "checkpoint"],
    "by_program": ["user_id", "program", "saved_at", "id", "score", "optimizer", "checkpoint"],
}
OF_VERSIONS = {
    "by_optimizer": ["user_id", "optimizer", "saved_at", "id", "score"],
    "by_signature": ["user_id", "signature", "saved_at", "id", "score"],
    "by_score": ["user_id", "score", "saved_at", "id"],
    "best_of_program": ["program", "user_id", "score", "saved_at", "id"],
    "best_of_signature": ["signature", "user_id", "score", "saved_at", "id"],
}


def upgrade() -> None:
    """Bring the schema up."""
    for superseded in ("by_owner", "by_score", "by_signature"):
        op.drop_index(f"program_version_{superseded}", "program_version")
    for name, columns in OF_ALL.items():
        op.create_index(f"program_version_{name}", "program_version", columns)
    for name, columns in OF_VERSIONS.items():
        op.create_index(
            f"program_version_{name}", "program_version", columns, postgresql_where=NO_CHECKPOINT
        )
    op.create_index(
        "program_version_by_tag",
        "program_version",
        ["tags"],
        postgresql_using="gin",
        postgresql_where=NO_CHECKPOINT,
    )
