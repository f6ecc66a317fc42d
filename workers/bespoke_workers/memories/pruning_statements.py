"""The SQL of retention, which goes by age and by the users whom it names."""

from bespoke_workers.memories.statements import statement

WHOSE = statement("""
    SELECT DISTINCT user_id FROM (
        SELECT user_id FROM memory_archive WHERE removed_at < :before
        ORDER BY removed_at LIMIT :limit
    ) AS old
""")
"""Find whose archive has a page of old rows."""

LOCK_SPACES = statement("""
    SELECT FROM memory_space WHERE user_id = ANY(:users) ORDER BY user_id FOR NO KEY UPDATE
""")
"""Let nobody else change these users' memories until the transaction ends."""

PRUNE = statement("""
    WITH old AS (
        SELECT id FROM memory_archive WHERE user_id = ANY(:users) AND removed_at < :before
        ORDER BY removed_at LIMIT :limit
    ), gone AS (
        DELETE FROM memory_archive USING old WHERE memory_archive.id = old.id
        RETURNING memory_archive.user_id, memory_archive.removed_version
    ), followed AS (
        UPDATE memory_space AS s SET reload_below = GREATEST(s.reload_below, last.version)
        FROM (
            SELECT user_id, max(removed_version) AS version FROM gone GROUP BY user_id
        ) AS last
        WHERE s.user_id = last.user_id
    )
    SELECT count(*) FROM gone
""")
"""Delete a page of old rows.

They were the list of changes that cached indexes follow: one that is older loads anew.
"""

RUNS = statement("""
    DELETE FROM compaction_run WHERE id IN (
        SELECT id FROM compaction_run WHERE at < :before LIMIT :limit
    )
""")
"""Delete a page of the reports of compactions whose memories are no longer in the archive."""

PARTS = statement("""
    DELETE FROM compaction_part WHERE (round_id, user_id) IN (
        SELECT part.round_id, part.user_id FROM compaction_part AS part
        JOIN compaction_round AS round ON round.id = part.round_id
        WHERE round.finished_at < :before LIMIT :limit
    )
""")
"""Delete a page of the parts of old rounds."""

ROUNDS = statement("""
    DELETE FROM compaction_round WHERE id IN (
        SELECT id FROM compaction_round WHERE finished_at < :before LIMIT :limit
    )
""")
"""Delete a page of old rounds."""
