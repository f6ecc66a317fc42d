"""The SQL of looks that leave no trace. Each statement names the user, as all of them do."""

from bespoke_workers.memories.statements import MEMORY, statement

ONE_MOMENT = statement("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
"""Let all that a transaction reads be of the moment of its first look."""

READ_UNCHANGED = statement(f"""
    SELECT {MEMORY} FROM memory AS m WHERE user_id = :user_id AND id = ANY(:ids)
        AND EXISTS (SELECT FROM memory_space WHERE user_id = m.user_id AND version = :version)
""")  # noqa: S608  # no part of it comes from outside
"""Read some of a user's memories, and none of them if the version has moved."""

READ_EMBEDDING = statement("""
    SELECT (SELECT embedding FROM memory WHERE user_id = :user_id AND id = :id) AS embedding
    FROM memory_space WHERE user_id = :user_id AND version = :version
""")
"""Read the vector of one memory, null if there is none; no row if the version has moved."""

IS_AT = statement("""
    SELECT true FROM memory_space WHERE user_id = :user_id AND version = :version
""")
"""Tell whether a space is at a version still."""

READ_EMBEDDINGS = statement("""
    SELECT array_agg(id) AS ids, string_agg(embedding, '') AS embeddings FROM memory
    WHERE user_id = :user_id AND id = ANY(:ids)
""")
"""Read the vectors of some memories, joined in the order of the ids."""

READ_STATS = statement("""
    WITH kinds AS (
        SELECT kind, count(*) AS count, min(created_at) AS oldest, max(created_at) AS newest,
            max(access_count) AS most, sum(access_count) AS accesses
        FROM memory WHERE user_id = :user_id GROUP BY kind
    )
    SELECT total.*, s.embedder, s.dim,
        (SELECT count(*) FROM memory_archive WHERE user_id = :user_id) AS archived_count
    FROM (
        SELECT CAST(coalesce(sum(count), 0) AS bigint) AS count, min(oldest) AS oldest_created_at,
            max(newest) AS newest_created_at, coalesce(max(most), 0) AS most_accessed,
            CAST(coalesce(sum(accesses), 0) AS bigint) AS accesses_total,
            coalesce(jsonb_object_agg(kind, count), '{}') AS by_kind
        FROM kinds
    ) AS total
    LEFT JOIN memory_space AS s ON s.user_id = :user_id
""")
"""Count what a user's space holds; one row, also for a user without a space."""
