"""The SQL of the memories. Each statement names the user (DESIGN §3, invariant 4)."""

import re
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    Text,
    TextClause,
    Uuid,
    bindparam,
    text,
)
from sqlalchemy.types import TypeEngine

_TYPES: dict[str, TypeEngine[Any]] = {
    "user_id": Text(),
    "id": Uuid(),
    "ids": ARRAY(Uuid()),
    "kept_ids": ARRAY(Uuid()),
    "memory_id": Uuid(),
    "age_from": DateTime(timezone=True),
    "merged": Text(),
    "run_id": Uuid(),
    "task": Text(),
    "result": Text(),
    "report": Text(),
    "content": Text(),
    "kind": Text(),
    "kind_marks": Text(),
    "may_wait": Boolean(),
    "policy_digest": Text(),
    "tags": ARRAY(Text()),
    "meta": Text(),
    "facts": Text(),
    "embedding": LargeBinary(),
    "reason": Text(),
    "similarities": ARRAY(Double()),
    "pattern": Text(),
    "embedder": Text(),
    "dim": Integer(),
    "now": DateTime(timezone=True),
    "oldest_created_at": DateTime(timezone=True),
    "last_accessed_at": DateTime(timezone=True),
    "low_access_threshold": Text(),
    "preset": Text(),
    "policy": Text(),
    "round_id": Uuid(),
    "job_id": Uuid(),
    "job_ids": ARRAY(Uuid()),
    "users": ARRAY(Text()),
    "through": Text(),
    "asked": Text(),
    "state": Text(),
    "error": Text(),
    "oldest_before": DateTime(timezone=True),
    "before": DateTime(timezone=True),
    "since": DateTime(timezone=True),
    "limit": Integer(),
    "offset": Integer(),
}
"""Types of the parameters by their names; every other one is a BigInteger."""


def statement(sql: str, **types: TypeEngine[Any]) -> TextClause:
    """Make a statement of SQL in which every ``:name`` is a parameter, of these types."""
    # Typed, since the driver cannot tell the type of a parameter that is null.
    names = sorted(set(re.findall(r":([a-z_]+)", sql)))
    known = {**_TYPES, **types}
    return text(sql).bindparams(
        *(bindparam(name, type_=known.get(name, BigInteger())) for name in names)
    )


CREATE_SPACE = statement("""
    INSERT INTO memory_space (user_id, embedder, dim, relevance_check_at, version, reload_below)
    SELECT :user_id, :embedder, :dim, :never, begins_at, begins_at
    FROM admitted(:user_id, :id) AS begins_at
    ON CONFLICT DO NOTHING
""")
"""Make a user's space; two first stores at once make one.

Where the user was erased, it begins at a version that the space never had, so that no index that
is cached elsewhere shows it; a job from before the erasure makes none.
"""

LOCK_AND_BEGIN = statement(
    """
    WITH held AS (
        SELECT FROM memory_space WHERE user_id = :user_id FOR NO KEY UPDATE
    )
    INSERT INTO job (id, task, user_id, state)
    SELECT :id, :task, :subject, 'done' WHERE (SELECT count(*) FROM held) >= 0
    ON CONFLICT DO NOTHING RETURNING (SELECT count(*) FROM held) > 0 AS is_held
    """,
    subject=Text(),
)
"""Let nobody else change this user's memories until the transaction ends, and begin a job.

Without a row, the job has taken effect (or ended) before. What is not held may be made by others
at any moment. The count is there to have the space locked before the job is begun.
"""

LOCK_SPACE = statement("""
    SELECT true FROM memory_space WHERE user_id = :user_id FOR NO KEY UPDATE
""")
"""Let nobody else change this user's memories until the transaction ends; no row, no lock."""

SPACE = """s.user_id, s.version, s.reload_below, s.count, s.oldest_created_at, s.most_accessed,
    s.stored_total, s.relevance_check_at, s.relevance_pause_until, s.kind_marks, s.policy_digest,
    s.compacted_version, s.embedder, s.dim, s.preset, s.policy"""
"""The columns of a space, as `Space.of` reads them."""

READ_SPACE = statement(f"""
    SELECT {SPACE} FROM memory_space AS s WHERE s.user_id = :user_id
""")  # noqa: S608  # no part of it comes from outside
"""Read a user's counters and watermarks."""

READ_CHANGES = statement(f"""
    SELECT {SPACE}, added.ids, added.embeddings, added.through, gone.removed
    FROM memory_space AS s
    LEFT JOIN LATERAL (
        SELECT array_agg(page.id) AS ids, string_agg(page.embedding, '') AS embeddings,
            max(page.version) AS through
        FROM (
            SELECT id, embedding, version FROM memory
            WHERE user_id = s.user_id AND version > :after
            ORDER BY version FETCH FIRST (:page) ROWS WITH TIES
        ) AS page
    ) AS added ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(memory_id) AS removed FROM memory_archive
        WHERE user_id = s.user_id AND removed_version > :removed_after
    ) AS gone ON true
    WHERE s.user_id = :user_id
""")  # noqa: S608  # no part of it comes from outside
"""Read the counters and what a cached index of version ``after`` has to take in and drop.

One value for a thousand embeddings is read in half the time of a thousand rows.
"""

STORE = statement("""
    WITH space AS (
        UPDATE memory_space SET version = version + 1, count = count + 1,
            stored_total = stored_total + 1,
            oldest_created_at = LEAST(oldest_created_at, :now),
            kind_marks = CAST(:kind_marks AS jsonb), policy_digest = :policy_digest
        WHERE user_id = :user_id AND version = :version
            AND (:may_wait OR stored_total + 1 < relevance_check_at)
        RETURNING version
    ), stored AS (
        INSERT INTO memory (id, user_id, content, kind, tags, meta, facts, embedding, version,
            created_at, updated_at)
        SELECT :id, :user_id, :content, :kind, :tags, CAST(:meta AS jsonb), :facts, :embedding,
            version, :now, :now
        FROM space
    ), finished AS (
        INSERT INTO job (id, task, user_id, state, result)
        SELECT :id, :task, :user_id, 'done', CAST(:result AS jsonb) FROM space
        RETURNING id
    )
    SELECT EXISTS (SELECT FROM finished) AS is_stored, CASE
        WHEN EXISTS (SELECT FROM finished) THEN false
        ELSE EXISTS (SELECT FROM job WHERE id = :id) END AS is_repeated
""")
"""Store a memory and its job if nothing has changed since ``version`` and no check is due.

If it is neither stored nor repeated, the version has moved or relevance has to be checked. A
repeated job at the right version breaks the key of its row.
"""

INSERT_MEMORY = statement("""
    INSERT INTO memory (id, user_id, content, kind, tags, meta, facts, embedding, version,
        created_at, updated_at)
    VALUES (:id, :user_id, :content, :kind, :tags, CAST(:meta AS jsonb), :facts, :embedding,
        :version, :now, :now)
""")
"""Insert a memory into a space that this transaction has locked."""

READ_CANDIDATES = statement("""
    SELECT id, access_count, last_accessed_at, tags, facts,
        GREATEST(created_at, renewed_at) AS age_from
    FROM memory
    WHERE user_id = :user_id AND id = ANY(:ids)
""")
"""Read what decides which of some similar memories are duplicates, and which is kept."""

TAKE_OVER = statement("""
    UPDATE memory SET access_count = :access_count, last_accessed_at = :last_accessed_at,
        tags = :tags, updated_at = :now, renewed_at = GREATEST(renewed_at, :age_from)
    WHERE user_id = :user_id AND id = :id
""")
"""Give the kept duplicate the accesses, the tags and the youngest age of the others."""

READ_STANDINGS = statement("""
    SELECT id, created_at, access_count, last_accessed_at, renewed_at, kind FROM memory
    WHERE user_id = :user_id
""")
"""Read of every memory what compaction judges it by, as `plan.Row` has it."""

ARCHIVED = """content, kind, tags, meta, facts, access_count, last_accessed_at, created_at,
    updated_at, renewed_at"""
"""The columns of a memory that the archive has, too: its embedding is made anew if need be."""

INTO_ARCHIVE = f"""
    INSERT INTO memory_archive (id, memory_id, user_id, reason, run_id, kept_id, similarity,
        {ARCHIVED}, removed_version, removed_at)
    SELECT gen_random_uuid(), id, user_id, :reason, :run_id, kept_id, similarity,
        {ARCHIVED}, :version, :now
    FROM removed
    RETURNING id
"""  # noqa: S608  # no part of it comes from outside
"""Keep what a statement calls ``removed``."""

ARCHIVE = statement(f"""
    WITH doomed AS (
        SELECT * FROM unnest(:ids, :similarities, :kept_ids)
            AS doomed (gone_id, similarity, kept_id)
    ), removed AS (
        DELETE FROM memory USING doomed
        WHERE memory.user_id = :user_id AND memory.id = doomed.gone_id
        RETURNING id, user_id, similarity, kept_id, {ARCHIVED}
    ), moved AS (
        {INTO_ARCHIVE}
    )
    SELECT count(*) AS moved FROM moved
""")  # noqa: S608  # no part of it comes from outside
"""Move memories from a user's space into the archive, and tell how many."""

INTO_COMPACTIONS = """
    INSERT INTO compaction_run (id, user_id, report, at)
    SELECT :run_id, :user_id, CAST(:report AS jsonb), :now
"""
RECORD_COMPACTION = statement(INTO_COMPACTIONS)
"""Keep the report of a compaction that removed something."""

FINISH = statement("""
    WITH finished AS (
        UPDATE job SET result = CAST(:result AS jsonb) WHERE id = :id AND user_id = :user_id
    )
    UPDATE memory_space SET version = :version, count = :count,
        oldest_created_at = :oldest_created_at, most_accessed = :most_accessed,
        stored_total = :stored_total, relevance_check_at = :relevance_check_at,
        relevance_pause_until = :relevance_pause_until, kind_marks = CAST(:kind_marks AS jsonb),
        policy_digest = :policy_digest, compacted_version = :compacted_version
    WHERE user_id = :user_id
""")
"""Write the result of a job and the counters of a space, both of which this transaction holds."""

MEMORY = """id, content, kind, tags, meta, created_at, updated_at, access_count,
    last_accessed_at"""
"""The columns of what reads answer."""

SELECTED = statement("""
    SELECT id FROM memory WHERE user_id = :user_id AND tags @> :tags
        AND (:kind IS NULL OR kind = :kind) AND (:pattern IS NULL OR content ILIKE :pattern)
""")
"""Find the memories that carry all of some tags, are of a kind and contain a text; null is any."""

COUNT_ACCESSES = statement(f"""
    WITH space AS (
        SELECT user_id FROM memory_space
        WHERE user_id = :user_id AND version = :version FOR NO KEY UPDATE
    )
    UPDATE memory AS m SET access_count = access_count + 1, last_accessed_at = :now
    FROM space WHERE m.user_id = space.user_id AND m.user_id = :user_id AND m.id = ANY(:ids)
    RETURNING {MEMORY}
""")  # noqa: S608  # no part of it comes from outside
"""Count an access of each memory found and read it, unless the version has moved.

The space is locked before the memories, as a store does it: the other way round, the two
could wait for each other.
"""

RAISE_MOST_ACCESSED = statement("""
    UPDATE memory_space SET most_accessed = :most_accessed,
        relevance_check_at = CASE
            WHEN ceil(CAST(:low_access_threshold AS numeric) * :most_accessed)
                > ceil(CAST(:low_access_threshold AS numeric) * most_accessed) THEN 0
            ELSE relevance_check_at END
    WHERE user_id = :user_id AND most_accessed < :most_accessed
""")
"""Raise the bar by which memories are low; check relevance again if it can make one low.

Access counts are whole, so none becomes low until the bar passes a whole number.
"""

LIST = statement(f"""
    WITH listed AS (
        SELECT * FROM memory WHERE user_id = :user_id AND tags @> :tags
            AND (:kind IS NULL OR kind = :kind)
            AND (:pattern IS NULL OR content ILIKE :pattern)
    )
    SELECT total.total, page.* FROM (SELECT count(*) AS total FROM listed) AS total
    LEFT JOIN (
        SELECT {MEMORY} FROM listed ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset
    ) AS page ON true
    ORDER BY page.created_at DESC, page.id DESC
""")  # noqa: S608  # no part of it comes from outside
"""Read one page of a user's memories, newest first, and how many there are in all.

One statement, so that the page and the total are of the same moment.
"""

READ_MEMORIES = statement(f"""
    SELECT {MEMORY} FROM memory WHERE user_id = :user_id AND id = ANY(:ids)
""")  # noqa: S608  # no part of it comes from outside
"""Read some of a user's memories, in no particular order."""

SET_POLICY = statement("""
    WITH finished AS (
        UPDATE job SET result = CAST(:result AS jsonb) WHERE id = :id AND user_id = :user_id
    )
    UPDATE memory_space SET version = version + 1, relevance_check_at = 0, preset = :preset,
        policy = CAST(:policy AS jsonb)
    WHERE user_id = :user_id
""")
"""Write a user's own policy and the result of its job; what is low has to be judged anew.

The version rises, so that whoever has the space cached reads the policy with the next store.
"""

RECOUNT = statement(f"""
    UPDATE memory_space AS s SET version = :version, count = total.count, kind_marks = NULL,
        oldest_created_at = total.oldest, most_accessed = total.most,
        relevance_check_at = CASE total.most WHEN 0 THEN :never ELSE relevance_pause_until END
    FROM (
        SELECT count(*) AS count, min(GREATEST(created_at, renewed_at)) AS oldest,
            coalesce(max(access_count), 0) AS most
        FROM memory WHERE user_id = :user_id
    ) AS total
    WHERE s.user_id = :user_id
    RETURNING {SPACE}
""")  # noqa: S608  # no part of it comes from outside
"""Count a space anew, which this transaction has locked; relevance is looked at when it may be.

Without an access nothing is low, until a search raises the bar.
"""

READ_PROBES = statement("""
    SELECT id, facts, kind, CASE WHEN place <= :probes THEN embedding END AS embedding
    FROM (
        SELECT id, facts, kind, embedding,
            row_number() OVER (ORDER BY created_at DESC, id DESC) AS place
        FROM memory WHERE user_id = :user_id
    ) AS placed
""")
"""Read the facts and kind of every memory, and the embeddings of the newest."""

MERGE_MANY = statement("""
    WITH merged AS (
        SELECT * FROM jsonb_to_recordset(CAST(:merged AS jsonb)) AS merged (
            id uuid, access_count bigint, last_accessed_at timestamptz, age_from timestamptz,
            tags text[])
    )
    UPDATE memory SET access_count = merged.access_count, tags = merged.tags,
        last_accessed_at = merged.last_accessed_at, updated_at = :now,
        renewed_at = GREATEST(memory.renewed_at, merged.age_from)
    FROM merged WHERE memory.user_id = :user_id AND memory.id = merged.id
""")
"""Give each memory that is kept in place of others their accesses, tags and youngest age."""

ANSWER = statement("""
    UPDATE job SET result = CAST(:result AS jsonb) WHERE id = :id AND user_id = :user_id
""")
"""Write the result of a job of a user who has no space."""

UPDATE_MEMORY = statement("""
    UPDATE memory SET content = coalesce(:content, content), kind = coalesce(:kind, kind),
        tags = coalesce(:tags, tags), meta = coalesce(CAST(:meta AS jsonb), meta),
        facts = coalesce(:facts, facts), embedding = coalesce(:embedding, embedding),
        version = :version, updated_at = :now,
        renewed_at = CASE WHEN :content IS NULL THEN renewed_at ELSE :now END
    WHERE user_id = :user_id AND id = :id
""")
"""Change what is given of a memory, null changing nothing; a new content is said now."""
