"""The SQL of an erasure, but for the deletions that every table with a user has in common."""

from typing import Any

from sqlalchemy import ARRAY, Text
from sqlalchemy.types import TypeEngine

from bespoke_workers.memories.statements import statement

_TYPES: dict[str, TypeEngine[Any]] = {
    "space": Text(),
    "subject": Text(),
    "owners": ARRAY(Text()),
    "quoted": ARRAY(Text()),
    "tasks": ARRAY(Text()),
    "mark": Text(),
}

HOLD_MEMBERS = statement("""
    SELECT FROM space_member WHERE space IN (
        SELECT theirs.space FROM space_member AS theirs WHERE theirs.user_id = :user_id
    )
    ORDER BY space, user_id FOR UPDATE
""")
"""Let nobody leave the user's shared spaces meanwhile: of two last members one is the last."""

LEAVE_SPACES = statement("DELETE FROM space_member WHERE user_id = :user_id RETURNING space")
"""End a user's memberships of shared spaces."""

EMPTY_SPACES = statement(
    """
    SELECT left_by.space FROM unnest(:owners) AS left_by (space)
    WHERE NOT EXISTS (SELECT FROM space_member AS m WHERE m.space = left_by.space)
    """,
    **_TYPES,
)
"""Find those of some shared spaces that nobody shares any more."""

FENCE_SPACE = statement(
    """
    INSERT INTO erasure (subject, job_id, state, before)
    SELECT erasure_subject(:space), e.job_id, e.state, e.before FROM erasure AS e
    WHERE e.subject = :subject
    ON CONFLICT (subject) DO UPDATE SET job_id = EXCLUDED.job_id, state = EXCLUDED.state,
        before = EXCLUDED.before, ended_at = NULL
    """,
    **_TYPES,
)
"""Put up the fence around a shared space that ends with its user."""

RAISE_FLOOR = statement("""
    WITH space AS (
        SELECT version FROM memory_space WHERE user_id = :user_id FOR UPDATE
    )
    UPDATE erasure SET version_floor = GREATEST(version_floor, space.version + 1)
    FROM space WHERE subject = erasure_subject(:user_id)
""")
"""Keep that a space made anew begins above the versions of the one that is about to go."""

DELIVERIES = statement("""
    DELETE FROM delivery USING job WHERE job.id = delivery.job_id AND job.user_id = :user_id
""")
"""Delete how often a user's jobs came again."""

OPTIMIZATIONS = statement("SELECT id FROM optimization_job WHERE user_id = :user_id")
"""Find the optimizations whose answers of language models may lie on machines."""

CANCEL_OPTIMIZATIONS = statement("""
    UPDATE optimization_job SET cancel_requested = true
    WHERE user_id = :user_id AND state IN ('planned', 'queued', 'running')
        AND NOT cancel_requested
""")
"""Ask the user's optimizations to stop, and let none begin."""

RUNNING = statement("""
    SELECT count(*) AS count FROM optimization_job
    WHERE user_id = :user_id AND state = 'running' AND lease_until > now()
""")
"""Count the user's optimizations that some worker still runs."""

MOVE_MARKS = (
    statement("""
        UPDATE batch SET planned_through = coalesce((
            SELECT max(l.user_id) FROM learner AS l
            WHERE l.user_id < :user_id AND batch.state = 'planning'
        ), '')
        WHERE planned_through = :user_id
    """),
    statement("""
        UPDATE compaction_round AS r SET planned_through = coalesce((
            SELECT max(s.user_id) FROM memory_space AS s
            WHERE s.user_id < :user_id AND r.state = 'planning'
        ), '')
        WHERE planned_through = :user_id
    """),
)
"""Let plans go on after the user before this one, whom they name as the last one looked at."""

SHARED_SPACES = statement(
    """
    SELECT user_id AS owner FROM memory_space
    WHERE starts_with(user_id, :mark) AND user_id > :after_owner
    ORDER BY user_id LIMIT :limit
    """,
    after_owner=Text(),
    **_TYPES,
)
"""Read a page of the owners of shared spaces."""

SAID = statement(
    """
    SELECT DISTINCT m.user_id AS owner FROM memory AS m
    WHERE m.user_id = ANY(:owners) AND m.meta ->> 'said_by' = :user_id
    UNION
    SELECT DISTINCT a.user_id FROM memory_archive AS a
    WHERE a.user_id = ANY(:owners) AND a.meta ->> 'said_by' = :user_id
    """,
    **_TYPES,
)
"""Find in which of some shared spaces there is something that a user said."""

LOCK_SHARED = statement(
    "SELECT version FROM memory_space WHERE user_id = :space FOR UPDATE", **_TYPES
)
"""Let nobody else change a shared space until the transaction ends; its version."""

UNSAY = statement(
    """
    WITH said AS (
        SELECT memory_id AS id, content FROM memory_archive
        WHERE user_id = :space AND meta ->> 'said_by' = :user_id
    )
    DELETE FROM memory AS m WHERE m.user_id = :space AND (
        m.meta ->> 'said_by' = :user_id
        OR EXISTS (SELECT FROM said WHERE said.id = m.id AND said.content = m.content)
    )
    RETURNING m.id
    """,
    **_TYPES,
)
"""Delete what a user said in a shared space, also where another one has changed its tags since."""

UNSAY_ANSWERS = statement(
    """
    UPDATE job SET state = 'failed', result = NULL, reason = :reason
    WHERE user_id = :space AND result IS NOT NULL
        AND CAST(result #>> '{memory,id}' AS uuid) = ANY(:ids)
    """,
    **_TYPES,
)
"""Forget what jobs answered about memories that were deleted."""

UNSAY_EMBEDDINGS = statement(
    "DELETE FROM memory_reembedding WHERE user_id = :space AND memory_id = ANY(:ids)", **_TYPES
)
"""Delete the newer embeddings of what was deleted."""

UNSAY_ARCHIVED = statement(
    """
    DELETE FROM memory_archive
    WHERE user_id = :space AND meta ->> 'said_by' = :user_id
    """,
    **_TYPES,
)
"""Delete what a user said in a shared space and what is in its archive."""

RELOAD = statement(
    "UPDATE memory_space SET reload_below = version WHERE user_id = :space", **_TYPES
)
"""Have cached indexes of a shared space loaded anew: the archive tells of no removal."""

NAMING = statement(
    """
    SELECT named.id, named.task FROM (
        SELECT id, task, result FROM job WHERE user_id IS NULL AND task = ANY(:tasks)
        UNION ALL
        SELECT id, task, result FROM job WHERE starts_with(user_id, chr(31))
    ) AS named
    WHERE named.result IS NOT NULL AND EXISTS (
        SELECT FROM unnest(:quoted) AS form
        WHERE strpos(CAST(named.result AS text), form) > 0
    )
    ORDER BY named.id
    """,
    **_TYPES,
)
"""Find the results of others' jobs that may name a user: of batches, rounds and shared spaces."""

HOLD_RESULT = statement("SELECT result FROM job WHERE id = :id AND result IS NOT NULL FOR UPDATE")
"""Read a result that nobody else changes: an erasure of another one whom it names may."""

REWRITE = statement("UPDATE job SET result = CAST(:result AS jsonb) WHERE id = :id")
"""Write a result without what was the user's."""

FORGET_RESULT = statement("""
    UPDATE job SET state = 'failed', result = NULL, reason = :reason WHERE id = :id
""")
"""Keep that a job took effect, and not what it answered."""
