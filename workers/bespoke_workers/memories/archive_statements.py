"""The SQL of the archive. Each statement names the user, as all of them do."""

from sqlalchemy import ARRAY, LargeBinary

from bespoke_workers.memories.statements import ARCHIVED, statement

LIST_COMPACTIONS = statement("""
    WITH listed AS (SELECT id, at, report FROM compaction_run WHERE user_id = :user_id)
    SELECT total.total, total.removed, page.* FROM (
        SELECT count(*) AS total, CAST(coalesce(
            sum(CAST(report ->> 'total_compacted' AS bigint)), 0) AS bigint) AS removed
        FROM listed
    ) AS total
    LEFT JOIN (
        SELECT * FROM listed ORDER BY at DESC, id DESC LIMIT :limit OFFSET :offset
    ) AS page ON true
    ORDER BY page.at DESC, page.id DESC
""")
"""Read one page of a user's compactions, newest first, and how many there are in all."""

LIST_ARCHIVED = statement("""
    WITH listed AS (
        SELECT * FROM memory_archive
        WHERE user_id = :user_id AND (:run_id IS NULL OR run_id = :run_id)
            AND (:reason IS NULL OR reason = :reason)
            AND (:since IS NULL OR removed_at >= :since)
    )
    SELECT total.total, page.* FROM (SELECT count(*) AS total FROM listed) AS total
    LEFT JOIN (
        SELECT id AS removal_id, memory_id AS id, content, kind, tags, meta, access_count,
            last_accessed_at, created_at, updated_at, reason, run_id, kept_id, similarity,
            removed_at
        FROM listed ORDER BY removed_at DESC, removal_id DESC LIMIT :limit OFFSET :offset
    ) AS page ON true
    ORDER BY page.removed_at DESC, page.removal_id DESC
""")
"""Read one page of a user's archive, what went last first, and how many there are in all."""

READ_ARCHIVED = statement("""
    SELECT id, memory_id, facts, kind, reason
    FROM memory_archive
    WHERE user_id = :user_id AND (run_id = :run_id OR memory_id = :memory_id)
    ORDER BY :run_id IS NOT NULL AND reason = 'updated' DESC,
        CASE WHEN :run_id IS NULL THEN removed_version END DESC,
        GREATEST(created_at, renewed_at, last_accessed_at) DESC,
        reason = 'updated', memory_id DESC, id DESC
""")
"""Read what a job archived, or every state of one memory that is in the archive.

Of a job, what it changed comes first, then what was touched last, and of equal ones
the newest; of a memory, its last state.
"""

READ_CONTENTS = statement("""
    SELECT id, content FROM memory_archive
    WHERE user_id = :user_id AND (run_id = :run_id OR memory_id = :memory_id)
    ORDER BY id
""")
"""Read the texts of what may be restored, to be embedded before the space is locked."""

RESTORE = statement(
    """
    WITH back AS (
        DELETE FROM memory_archive AS a USING unnest(:ids, :embeddings) AS chosen (id, embedding)
        WHERE a.user_id = :user_id AND a.id = chosen.id
        RETURNING a.memory_id, a.user_id, a.content, a.kind, a.tags, a.meta, a.facts,
            chosen.embedding, a.access_count, a.last_accessed_at, a.created_at
    ), paused AS (
        UPDATE memory_space SET
            relevance_pause_until = GREATEST(relevance_pause_until, stored_total + :restored)
        WHERE user_id = :user_id
    )
    INSERT INTO memory (id, user_id, content, kind, tags, meta, facts, embedding, version,
        access_count, last_accessed_at, created_at, updated_at, renewed_at)
    SELECT memory_id, user_id, content, kind, tags, meta, facts, embedding, :version,
        access_count, last_accessed_at, created_at, :now, :now
    FROM back
    ON CONFLICT (id) DO UPDATE SET content = excluded.content, kind = excluded.kind,
        tags = excluded.tags, meta = excluded.meta, facts = excluded.facts,
        embedding = excluded.embedding, version = excluded.version,
        updated_at = excluded.updated_at, renewed_at = excluded.renewed_at
        WHERE memory.user_id = excluded.user_id
    """,
    embeddings=ARRAY(LargeBinary()),
)
"""Move memories from the archive into a space that this transaction has locked.

Their age counts from now, and relevance pauses. One that is there gets its earlier state back
and keeps its accesses.
"""

ARCHIVE_COPIES = statement(f"""
    INSERT INTO memory_archive (id, memory_id, user_id, reason, run_id, {ARCHIVED},
        removed_version, removed_at)
    SELECT gen_random_uuid(), id, user_id, :reason, :run_id, {ARCHIVED}, :version, :now
    FROM memory WHERE user_id = :user_id AND id = ANY(:ids)
""")  # noqa: S608  # no part of it comes from outside
"""Keep memories as they are in the archive, too.

Who follows the list of changes drops each and takes it in again: its new state is of that version.
"""
