"""The SQL of a cleanup. Each statement names the owners; with a null user, the shared base."""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, Text, TextClause, Uuid, bindparam, text
from sqlalchemy.types import TypeEngine

from bespoke_workers.programs.cleanup import (
    POINTS,
    RECENCY_WEIGHT,
    SCORE_LIMIT,
    SCORE_WEIGHT,
)

_TYPES: dict[str, TypeEngine[Any]] = {
    "user_id": Text(),
    "program": Text(),
    "users": ARRAY(Text()),
    "programs": ARRAY(Text()),
    "ids": ARRAY(Uuid()),
    "owners": ARRAY(Text()),
    "most": BigInteger(),
    "max_stored": BigInteger(),
}


def _statement(sql: str) -> TextClause:
    found = text(sql)
    names = found.compile().params
    return found.bindparams(*(bindparam(name, type_=_TYPES[name]) for name in names))


GROUPS_OF_USERS = _statement("""
    SELECT user_id, program, count(*) AS stored FROM (
        SELECT user_id, program FROM program_version
        WHERE (user_id, program) > (:user_id, :program)
        ORDER BY user_id, program LIMIT :most
    ) AS page GROUP BY user_id, program ORDER BY user_id, program
""")
"""Count the next users' versions of each program; of the last one, perhaps not all."""

GROUPS_OF_USER = _statement("""
    SELECT user_id, program, count(*) AS stored FROM (
        SELECT user_id, program FROM program_version
        WHERE user_id = :user_id AND program > :program
        ORDER BY user_id, program LIMIT :most
    ) AS page GROUP BY user_id, program ORDER BY user_id, program
""")
"""Count one user's versions of the next programs; of the last one, perhaps not all."""

GROUPS_OF_BASE = _statement("""
    SELECT CAST(NULL AS text) AS user_id, program, count(*) AS stored FROM (
        SELECT program FROM program_version
        WHERE user_id IS NULL AND program > :program ORDER BY program LIMIT :most
    ) AS page GROUP BY program ORDER BY program
""")
"""Count the shared base's versions of the next programs; of the last one, perhaps not all."""

_IN_USE = "EXISTS (SELECT FROM active_program WHERE version_id = v.id)"
_ROLLBACK_TARGET = """EXISTS (
    SELECT FROM activation a JOIN active_program p ON p.id = a.pointer_id
    WHERE a.version_id = v.id AND a.undone_at IS NULL AND a.version_id <> p.version_id
        AND NOT EXISTS (
            SELECT FROM activation later
            WHERE later.pointer_id = a.pointer_id AND later.generation > a.generation
                AND later.undone_at IS NULL AND later.version_id <> p.version_id
        )
)"""
_OF_RUNNING_JOB = """EXISTS (
    SELECT FROM optimization_job j
    WHERE j.id = v.checkpoint_of AND j.user_id = v.user_id
        AND j.state IN ('planned', 'queued', 'running')
)"""
_PROTECTED = f"({_IN_USE} OR {_ROLLBACK_TARGET} OR {_OF_RUNNING_JOB})"
_GROUP = "user_id, program, is_checkpoint"


def _surplus(versions: str) -> TextClause:
    """Return the rule of ``cleanup.surplus`` over the ``versions`` v of some owners."""
    return _statement(f"""
    WITH candidates AS (
        SELECT v.id, v.user_id, v.program, v.checkpoint IS NOT NULL AS is_checkpoint,
            v.score, v.saved_at, {_PROTECTED} AS is_guarded,
            CASE WHEN v.score IS NOT NULL THEN CAST(floor(
                least(greatest(v.score, -{SCORE_LIMIT}), {SCORE_LIMIT}) * {POINTS}
            ) AS numeric) END AS points,
            extract(epoch FROM v.saved_at) * 1000000 AS micros
        FROM {versions}
    ), ranges AS (
        SELECT *,
            points - min(points) OVER together AS over_least,
            max(points) OVER together - min(points) OVER together AS score_range,
            micros - min(micros) OVER together AS younger,
            max(micros) OVER together - min(micros) OVER together AS recency_range,
            is_guarded OR (score IS NOT NULL AND id = first_value(id) OVER (
                PARTITION BY {_GROUP} ORDER BY score DESC NULLS LAST, saved_at DESC, id DESC
            )) AS is_protected
        FROM candidates WINDOW together AS (PARTITION BY {_GROUP})
    ), worths AS (
        SELECT *,
            {SCORE_WEIGHT} * CASE WHEN points IS NULL THEN 0 WHEN score_range = 0 THEN 1
                ELSE over_least END * CASE recency_range WHEN 0 THEN 1 ELSE recency_range END
            + {RECENCY_WEIGHT} * CASE recency_range WHEN 0 THEN 1 ELSE younger END
                * CASE WHEN coalesce(score_range, 0) = 0 THEN 1 ELSE score_range END AS worth
        FROM ranges
    ), ranked AS (
        SELECT id, {_GROUP}, row_number() OVER (
            PARTITION BY {_GROUP}
            ORDER BY is_protected DESC, worth DESC, saved_at DESC, id DESC
        ) AS place, is_protected FROM worths
    ), judged AS (
        SELECT *, place > :max_stored AND NOT is_protected AS goes FROM ranked
    ), counted AS (
        SELECT *, count(*) FILTER (WHERE goes) OVER together AS going,
            count(*) FILTER (WHERE NOT goes) OVER together AS staying
        FROM judged WINDOW together AS (PARTITION BY {_GROUP})
    )
    SELECT v.id, v.user_id, v.program, is_checkpoint, v.size_bytes, going, staying
    FROM counted JOIN program_version v USING (id)
    WHERE goes ORDER BY v.user_id, v.program, is_checkpoint, place DESC LIMIT :most
    FOR UPDATE OF v
    """)  # noqa: S608  # no part of it comes from outside


SURPLUS_OF_USERS = _surplus("""unnest(:users, :programs) AS due(user_id, program)
            JOIN program_version v ON v.user_id = due.user_id AND v.program = due.program""")
SURPLUS_OF_BASE = _surplus("""program_version v
            WHERE v.user_id IS NULL AND v.program = ANY(:programs)""")
"""Find, and hold, what is too many, the least valuable first; a null ``most`` is all of it."""

DELETE = _statement(f"""
    DELETE FROM program_version v USING unnest(:ids, :owners) AS planned(id, user_id)
    WHERE v.id = planned.id AND v.user_id IS NOT DISTINCT FROM planned.user_id
        AND NOT {_PROTECTED}
    RETURNING v.id, v.size_bytes
""")  # noqa: S608  # no part of it comes from outside
"""Delete what is still not protected, now that it is held and nobody can put it into use."""
