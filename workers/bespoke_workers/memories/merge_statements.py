"""The SQL that stores a memory which has one duplicate, in one statement each.

The decision was made on what was read a moment ago. Searches count accesses without a new
version, so the statements also hold the candidates to the accesses that they were weighed by.
"""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, Double, Text, Uuid
from sqlalchemy.types import TypeEngine

from bespoke_workers.memories.statements import ARCHIVED, statement

_AGREED = """
    WITH held AS (
        SELECT FROM memory_space
        WHERE user_id = :user_id AND version = :version
            AND (:may_wait OR stored_total < relevance_check_at)
            AND NOT EXISTS (SELECT FROM job WHERE id = :id)
        FOR NO KEY UPDATE
    ), weighed AS (
        SELECT memory.id FROM held
            CROSS JOIN unnest(:ids, :access_counts) AS seen (id, access_count)
            JOIN memory ON memory.id = seen.id AND memory.access_count = seen.access_count
        WHERE memory.user_id = :user_id
        FOR NO KEY UPDATE OF memory
    ), space AS (
        UPDATE memory_space SET version = version + 1,
            oldest_created_at = LEAST(oldest_created_at, :now),
            kind_marks = CAST(:kind_marks AS jsonb), policy_digest = :policy_digest
        WHERE user_id = :user_id AND (SELECT count(*) FROM weighed) = cardinality(:ids)
        RETURNING version
    ), finished AS (
        INSERT INTO job (id, task, user_id, state, result)
        SELECT :id, :task, :user_id, 'done', CAST(:result AS jsonb) FROM space
        RETURNING id
    )"""
# The space is locked before the memories, as a search does it, and both before anything changes.

_ARCHIVED = f"""archived AS (
        INSERT INTO memory_archive (id, memory_id, user_id, reason, run_id, kept_id, similarity,
            {ARCHIVED}, removed_version, removed_at)
        SELECT gen_random_uuid(), gone.id, gone.user_id, 'duplicate', :id, :kept_id, :similarity,
            {ARCHIVED}, space.version, :now
        FROM space CROSS JOIN gone
    )
    SELECT EXISTS (SELECT FROM finished) AS is_stored,
        EXISTS (SELECT FROM job WHERE id = :id) AS is_repeated
"""  # noqa: S608  # no part of it comes from outside

_TYPES: dict[str, TypeEngine[Any]] = {
    "gone_id": Uuid(),
    "kept_id": Uuid(),
    "kept_tags": ARRAY(Text()),
    "similarity": Double(),
    "access_counts": ARRAY(BigInteger()),
}

REPLACE = statement(
    f"""{_AGREED}, gone AS (
        DELETE FROM memory USING space
        WHERE memory.user_id = :user_id AND memory.id = :gone_id
        RETURNING id, user_id, {ARCHIVED}
    ), stored AS (
        INSERT INTO memory (id, user_id, content, kind, tags, meta, facts, embedding, version,
            access_count, last_accessed_at, created_at, updated_at, renewed_at)
        SELECT :id, :user_id, :content, :kind, :kept_tags, CAST(:meta AS jsonb), :facts,
            :embedding, version, :access_count, :last_accessed_at, :now, :now,
            :age_from
        FROM space
    ), {_ARCHIVED}""",  # noqa: S608  # no part of it comes from outside
    **_TYPES,
)
"""Store a memory in the place of one that it duplicates, which goes to the archive."""

ABSORB = statement(
    f"""{_AGREED}, kept AS (
        UPDATE memory SET access_count = :access_count, last_accessed_at = :last_accessed_at,
            tags = :kept_tags, updated_at = :now, renewed_at = GREATEST(renewed_at, :age_from)
        FROM space WHERE memory.user_id = :user_id AND memory.id = :kept_id
    ), gone AS (
        SELECT :id AS id, :user_id AS user_id, :content AS content, :kind AS kind, :tags AS tags,
            CAST(:meta AS jsonb) AS meta, :facts AS facts, 0 AS access_count,
            CAST(NULL AS timestamptz) AS last_accessed_at, :now AS created_at,
            :now AS updated_at, CAST(NULL AS timestamptz) AS renewed_at
        FROM space
    ), {_ARCHIVED}""",  # noqa: S608  # no part of it comes from outside
    **_TYPES,
)
"""Put a memory straight into the archive, the accesses and tags over to the one it duplicates."""
