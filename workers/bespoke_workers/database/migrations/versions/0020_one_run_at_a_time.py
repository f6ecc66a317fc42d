"""One run at a time of each user and program."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# A worker that runs one of the others learns that its lease is lost, and writes nothing.
QUEUE_THE_OTHERS = """
UPDATE optimization_job SET state = 'queued', lease_owner = NULL, lease_until = NULL
WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY user_id, program ORDER BY id) AS place
        FROM optimization_job WHERE state = 'running'
    ) AS numbered
    WHERE place > 1
)
"""


def upgrade() -> None:
    """Bring the schema up."""
    op.execute(QUEUE_THE_OTHERS)
    op.create_index(
        "optimization_job_one_running",
        "optimization_job",
        ["user_id", "program"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
