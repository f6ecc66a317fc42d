"""The SQL of exports and imports. Each statement names the user, as all of them do."""

from sqlalchemy import ARRAY, Text, Uuid

from bespoke_workers.memories.statements import MEMORY, statement

EXPORT = statement(f"""
    SELECT {MEMORY}, renewed_at, count(*) OVER () AS total
    FROM memory WHERE user_id = :user_id AND tags @> :tags
        AND (:kind IS NULL OR kind = :kind)
    ORDER BY created_at, id LIMIT :limit
""")  # noqa: S608  # no part of it comes from outside
"""Read a user's memories, oldest first, and how many there are in each row; a null limit is none.

One statement is of one moment.
"""

EXPORT_PAGE = statement(
    f"""
    SELECT {MEMORY}, renewed_at, version FROM memory
    WHERE user_id = :user_id AND (version, id) > (:after, :after_id)
    ORDER BY version, id LIMIT :limit
""",  # noqa: S608  # no part of it comes from outside
    after_id=Uuid(),
)
"""Read the next of a user's memories after one of them, what changed last at the end."""

KNOWN = statement(
    """
    SELECT id, true AS is_present FROM memory WHERE user_id = :user_id AND id = ANY(:ids)
    UNION ALL
    SELECT memory_id, false FROM memory_archive
    WHERE user_id = :user_id AND memory_id = ANY(:ids) AND reason = ANY(:reasons)
""",
    reasons=ARRAY(Text()),
)
"""Find those of some ids that a user has, and those in the archive for some reasons."""

BEGIN_IMPORT = statement("""
    INSERT INTO job (id, task, user_id, state, result)
    VALUES (:id, :task, :user_id, 'accepted', CAST(:result AS jsonb)) ON CONFLICT DO NOTHING
""")
"""Record that an import has begun, with how far it is as its result so far."""

ADVANCE_IMPORT = statement(
    """
    UPDATE job SET state = :state, result = CAST(:result AS jsonb), finished_at = now()
    WHERE id = :id AND user_id = :user_id
""",
    state=Text(),
)
"""Write how far an import is, or its result."""

REFUSE_IMPORT = statement("""
    UPDATE job SET state = 'failed', reason = :reason, result = NULL, finished_at = now()
    WHERE id = :id AND task = :task AND user_id = :user_id AND state = 'accepted'
""")
"""Record why an import that has begun cannot go on."""
