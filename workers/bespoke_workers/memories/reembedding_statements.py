"""The SQL of changing the embedder.

Each statement names the user, but for those that look for users whose space is to be changed:
they read no memory. All times are the database's, so that workers' clocks need not agree.
"""

from sqlalchemy import ARRAY, BigInteger, Boolean, Double, LargeBinary, Text, Uuid

from bespoke_workers.memories.statements import statement

IS_DUE = statement("""
    SELECT EXISTS (SELECT FROM reembedding)
        OR EXISTS (SELECT FROM memory_space WHERE embedder < :embedder)
        OR EXISTS (SELECT FROM memory_space WHERE embedder > :embedder)
""")
"""Tell whether any space may be of another embedder; no worker has to load one to ask this."""

ANNOUNCE = statement(
    """
    INSERT INTO embedder_target AS target (id, embedder, dim, started_at, seen_at)
    SELECT 1, :embedder, :dim, now() - make_interval(secs => :running_s), now()
    ON CONFLICT (id) DO UPDATE SET embedder = excluded.embedder, dim = excluded.dim,
        seen_at = now(),
        started_at = CASE
            WHEN target.started_at < excluded.started_at THEN excluded.started_at
            WHEN (target.embedder, target.dim) = (excluded.embedder, excluded.dim)
                THEN target.started_at
            ELSE now() END
        WHERE target.started_at < excluded.started_at
            OR ((target.embedder, target.dim) = (excluded.embedder, excluded.dim)
                AND target.seen_at < now() - make_interval(secs => :silence_s / 60))
            OR target.seen_at < now() - make_interval(secs => :silence_s)
    """,
    running_s=Double(),
    silence_s=Double(),
)
"""Say which embedder is set for a worker: of all workers, the one started last decides.

Where none with the target has said so for long, whoever asks takes over, and counts as started
now: otherwise two that are never heard together could take turns for ever.
"""

READ_TARGET = statement("SELECT embedder, dim FROM embedder_target")

WANT = statement("""
    INSERT INTO reembedding (user_id, wanted_at)
    SELECT space.user_id, now() FROM memory_space AS space, embedder_target AS target
    WHERE space.user_id = :user_id
        AND (space.embedder, space.dim) <> (target.embedder, target.dim)
    ON CONFLICT (user_id) DO UPDATE SET wanted_at = coalesce(reembedding.wanted_at, now())
""")
"""Put a user before those whose memories nobody uses."""

FIND_OLDER = statement("""
    SELECT user_id FROM (
        (SELECT r.user_id, r.wanted_at FROM reembedding AS r JOIN memory_space AS s USING (user_id)
            WHERE r.wanted_at IS NOT NULL AND r.lease_until <= now()
                AND (s.embedder, s.dim) <> (:embedder, :dim)
            ORDER BY r.wanted_at LIMIT 1)
        UNION ALL
        (SELECT s.user_id, NULL FROM memory_space AS s
            WHERE (s.embedder, s.dim) < (:embedder, :dim) AND NOT EXISTS (
                SELECT FROM reembedding AS r
                WHERE r.user_id = s.user_id AND r.lease_until > now())
            LIMIT 1)
        UNION ALL
        (SELECT s.user_id, NULL FROM memory_space AS s
            WHERE (s.embedder, s.dim) > (:embedder, :dim) AND NOT EXISTS (
                SELECT FROM reembedding AS r
                WHERE r.user_id = s.user_id AND r.lease_until > now())
            LIMIT 1)
    ) AS older ORDER BY wanted_at NULLS LAST LIMIT 1
""")
"""Find a user whose space is of another embedder and in nobody's hands; wanted ones first."""

CLAIM = statement(
    """
    INSERT INTO reembedding AS r (user_id, lease_owner, lease_until)
    SELECT user_id, :owner, now() + make_interval(secs => :lease_s) FROM memory_space
    WHERE user_id = :user_id AND :lanes > (
        SELECT count(*) FROM reembedding WHERE lease_owner IS NOT NULL AND lease_until > now())
    ON CONFLICT (user_id) DO UPDATE
        SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until
        WHERE r.lease_until <= now()
    RETURNING user_id
    """,
    owner=Text(),
    lease_s=Double(),
)
"""Take a space into one's hands, unless it is in another's or enough are worked on."""

READ_MISSING = statement(
    """
    SELECT m.id, m.version, m.content FROM memory AS m
    WHERE m.user_id = :user_id AND (m.version, m.id) > (:after, :after_id) AND NOT EXISTS (
        SELECT FROM memory_reembedding AS r
        WHERE r.user_id = m.user_id AND r.memory_id = m.id AND r.embedder = :embedder
            AND r.version = m.version AND octet_length(r.embedding) = 2 * :dim)
    ORDER BY m.version, m.id LIMIT :page
""",
    after_id=Uuid(),
)
"""Read memories that are not embedded anew as they are now. What changes gets a later version."""

WRITE_PAGE = statement(
    """
    INSERT INTO memory_reembedding AS r (user_id, memory_id, embedder, version, embedding)
    SELECT s.user_id, page.id, :embedder, page.version, page.embedding
    FROM memory_space AS s, unnest(:ids, :versions, :embeddings) AS page (id, version, embedding)
    WHERE s.user_id = :user_id
    ON CONFLICT (user_id, memory_id, embedder) DO UPDATE
        SET version = excluded.version, embedding = excluded.embedding
        WHERE r.version <= excluded.version
    """,
    versions=ARRAY(BigInteger()),
    embeddings=ARRAY(LargeBinary()),
)
"""Keep embeddings beside the memories until all are there."""

RENEW = statement(
    """
    UPDATE reembedding SET lease_until = now() + make_interval(secs => :lease_s), failures = 0
    WHERE user_id = :user_id AND lease_owner = :owner RETURNING user_id
    """,
    owner=Text(),
    lease_s=Double(),
)
"""Hold a space for another lease; no row if it is another's now."""

RELEASE = statement(
    """
    UPDATE reembedding SET lease_owner = NULL,
        lease_until = now() + CASE WHEN :failed
            THEN LEAST(make_interval(secs => 5.0 * 2 ^ LEAST(failures, 20)), interval '1 hour')
            ELSE interval '0' END,
        failures = CASE WHEN :failed THEN failures + 1 ELSE failures END
    WHERE user_id = :user_id AND lease_owner = :owner
    """,
    owner=Text(),
    failed=Boolean(),
)
"""Let go of a space: to be gone on with at once, or after a failure, later each time."""

LOCK_ALL = statement("""
    SELECT version, embedder, dim FROM memory_space WHERE user_id = :user_id FOR UPDATE
""")
"""Lock a space as the change of its dimension does: to lock it twice could be a deadlock."""

DEFER = statement("SET CONSTRAINTS memory_in_space DEFERRED")
"""Compare the dimensions of memories and space when both are changed."""

SWAP = statement("""
    UPDATE memory AS m SET embedding = r.embedding FROM memory_reembedding AS r
    WHERE m.user_id = :user_id AND r.user_id = m.user_id AND r.memory_id = m.id
        AND r.embedder = :embedder AND r.version = m.version
        AND octet_length(r.embedding) = 2 * :dim
""")
"""Give each memory its new embedding."""

SWAP_SPACE = statement("""
    UPDATE memory_space SET embedder = :embedder, dim = :dim, version = version + 1,
        reload_below = version + 1
    WHERE user_id = :user_id RETURNING version
""")
"""Make a space one of the new embedder, so that every cached index is loaded anew."""

DROP_BESIDE = statement("DELETE FROM memory_reembedding WHERE user_id = :user_id")

SWAPPED = statement("""
    UPDATE reembedding SET lease_owner = NULL, lease_until = now(), failures = 0,
        swapped_version = :version
    WHERE user_id = :user_id
""")
"""Remember, until it is sent, that the space is to be compacted."""

FIND_SWAPPED = statement("""
    SELECT user_id, swapped_version FROM reembedding
    WHERE swapped_version IS NOT NULL AND lease_until <= now() LIMIT :page
""")

FINISHED = statement("""
    DELETE FROM reembedding WHERE user_id = :user_id AND swapped_version = :version
""")

DROP_NEEDLESS = statement("""
    DELETE FROM reembedding AS r USING memory_space AS s
    WHERE s.user_id = r.user_id AND r.lease_until <= now() AND r.swapped_version IS NULL
        AND (s.embedder, s.dim) = (:embedder, :dim)
""")
"""Forget spaces that were wanted anew and are of the target already."""
