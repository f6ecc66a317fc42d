"""Users who were erased, and the fence that keeps their older jobs out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SUBJECT = """
CREATE FUNCTION erasure_subject(whom text) RETURNS text LANGUAGE sql STABLE
RETURN encode(sha256(convert_to(whom, 'UTF8')), 'hex')
"""
"""What an erasure knows a user by."""

ADMITS = r"""
CREATE FUNCTION admits(gone erasure, whom text, job uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hex text := replace(CAST(job AS text), '-', '');
    made_ms bigint;
BEGIN
    IF gone.state = 'stopping' THEN RETURN 'no'; END IF;
    IF substr(hex, 13, 1) <> '7' THEN
        -- The id tells no time: it may be new only if the user has begun anew.
        IF gone.state = 'done' AND EXISTS (
            SELECT FROM memory_space WHERE user_id = whom AND created_at > gone.ended_at
        ) THEN RETURN 'yes'; END IF;
        RETURN 'no';
    END IF;
    made_ms := CAST(CAST('x' || lpad(substr(hex, 1, 12), 16, '0') AS bit(64)) AS bigint);
    IF made_ms <= extract(epoch FROM gone.before) * 1000 THEN RETURN 'no'; END IF;
    IF gone.state = 'done' THEN RETURN 'yes'; END IF;
    RETURN 'later';
END $$
"""
"""Whether a job of an erased user may take effect: yes, no, or later, when the erasure is done."""

ADMITTED = """
CREATE FUNCTION admitted(whom text, job uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    gone erasure;
    verdict text;
BEGIN
    SELECT * INTO gone FROM erasure WHERE subject = erasure_subject(whom);
    IF NOT FOUND THEN RETURN 0; END IF;
    verdict := admits(gone, whom, job);
    IF verdict = 'no' THEN RAISE 'erased' USING ERRCODE = 'BS001'; END IF;
    IF verdict = 'later' THEN RAISE 'being erased' USING ERRCODE = 'BS002'; END IF;
    RETURN gone.version_floor;
END $$
"""
"""Raise unless a job may take effect for a user; return the version under which a space begins."""

FENCE = """
CREATE FUNCTION keep_the_erased_out() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gone erasure;
BEGIN
    -- With its number taken before it looks, a transaction that does not see an erasure is one
    -- that the erasure sees and waits for.
    PERFORM pg_current_xact_id();
    SELECT * INTO gone FROM erasure WHERE subject = erasure_subject(NEW.user_id);
    IF NOT FOUND THEN RETURN NEW; END IF;
    -- An end without an effect is no reason to fail whoever records it for many users.
    IF NEW.state IN ('failed', 'parked', 'cancelled')
        AND admits(gone, NEW.user_id, NEW.id) <> 'yes' THEN RETURN NULL; END IF;
    PERFORM admitted(NEW.user_id, NEW.id);
    RETURN NEW;
END $$
"""
"""Every effect inserts its job's row in the same transaction, so this one door is enough."""

TRIGGER = """
CREATE TRIGGER job_of_the_erased BEFORE INSERT ON job
FOR EACH ROW WHEN (NEW.user_id IS NOT NULL) EXECUTE FUNCTION keep_the_erased_out()
"""


def upgrade() -> None:
    """Bring the schema up."""
    now = sa.text("now()")
    op.create_table(
        "erasure",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version_floor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "found", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column(
            "ending",
            sa.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_index("erasure_by_job", "erasure", ["job_id"])
    op.create_index("erasure_by_end", "erasure", ["ended_at"])
    for statement in (SUBJECT, ADMITS, ADMITTED, FENCE, TRIGGER):
        op.execute(statement)
