"""Versions, optimizations and pointers as weeks of work leave them, planted for reports."""

from sqlalchemy import text

from bespoke_workers.database.engine import Database

PROGRAM = "support"
SECRETS = ("a planted secret", "user-1", "user-7")
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>"

VERSIONS = """
INSERT INTO program_version (id, user_id, program, signature, optimizer, score, state,
    optimization_result, description, fingerprint, size_bytes, saved_at)
SELECT gen_random_uuid(), 'user-' || u, :program, 'text -> label',
    (ARRAY['LabeledFewShot', 'BootstrapFewShot', 'MIPROv2'])[1 + (u + v) % 3],
    least(1.0, 0.45 + 0.04 * v + 0.02 * ((u * 7 + v * 3) % 10) + 0.05 * ((u + v) % 3)),
    '{"label": {"demos": [{"text": "a planted secret"}]}}',
    jsonb_build_object('score_before', 0.45 + 0.03 * v, 'examples', 10 * v, 'lm_calls', 20 * v,
        'cost_usd', 0.002 * v),
    'what somebody said of it', 'f', 2000 + 13 * u % 999,
    timestamptz '2026-06-01' + v * interval '3 days' + u * interval '7 minutes'
FROM generate_series(1, :users) u, generate_series(1, :versions) v
"""
RUNS = """
INSERT INTO optimization_job (id, user_id, program, state, result, started_at, finished_at)
SELECT id, user_id, program, 'succeeded', jsonb_build_object(
    'score_before', score - 0.1 + 0.03 * (size_bytes % 7), 'score_after', score,
    'promoted', size_bytes % 7 < 4, 'cost_usd', 0.002 * (1 + size_bytes % 11),
    'lm_calls', 10 + size_bytes % 50, 'prompt_tokens', 900, 'completion_tokens', 80,
    'seconds', 12.5), saved_at, saved_at FROM program_version
"""
TAKEN = """
UPDATE optimization_job SET lm_calls = (result ->> 'lm_calls')::bigint, prompt_tokens = 900,
    completion_tokens = 80, cost_usd = (result ->> 'cost_usd')::float8, seconds = 12.5,
    ran_tier = 'basic'
"""
FAILURES = """
INSERT INTO optimization_job (id, user_id, program, state, error)
SELECT gen_random_uuid(), 'user-1', :program, state, 'said'
FROM unnest(ARRAY['failed', 'parked', 'cancelled', 'queued']) state
"""
POINTERS = """
INSERT INTO active_program (id, user_id, program, version_id, generation, moved_at)
SELECT DISTINCT ON (user_id) gen_random_uuid(), user_id, program, id, 9, saved_at
FROM program_version WHERE user_id IS NOT NULL ORDER BY user_id, saved_at DESC
"""
MOVES = """
INSERT INTO activation (pointer_id, generation, version_id, reason, moved_at)
SELECT a.id, row_number() OVER (PARTITION BY v.user_id ORDER BY v.saved_at), v.id, 'promoted',
    v.saved_at
FROM program_version v JOIN active_program a ON a.user_id = v.user_id AND a.program = v.program
WHERE v.checkpoint IS NULL
"""
TEACHERS = """
INSERT INTO learner (user_id, program, example_count)
SELECT 'user-' || u, :program, 5 FROM generate_series(1, :users + 3) u
"""


async def plant(database: Database, *, users: int, versions: int, program: str = PROGRAM) -> None:
    """Give each of ``users`` so many versions, each from an optimization, the newest in use.

    Three more have taught without a version, and some optimizations failed.
    """
    values = {"users": users, "versions": versions, "program": program}
    async with database.transaction() as session:
        for statement in (VERSIONS, RUNS, TAKEN, POINTERS, MOVES, TEACHERS, FAILURES):
            await (await session.connection()).execute(text(statement), values)
