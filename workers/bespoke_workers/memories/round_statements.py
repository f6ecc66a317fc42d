"""The SQL of rounds: compactions of everybody, which look at spaces and at no memory."""

from bespoke_workers.memories.statements import SPACE, statement

LEAST_AGE_DAYS = statement("""
    SELECT CAST(min(CAST(days.value AS numeric)) AS bigint)
    FROM memory_space,
        jsonb_path_query(policy, '$.**.max_age_days ? (@.type() == "number")') AS days (value)
    WHERE policy <> '{}'
""")
"""Read the least age, in days, that any user's own policy sets; null if none sets one."""

BEGIN_ROUND = statement("""
    INSERT INTO compaction_round (id, asked, oldest_before, state, planned_through)
    VALUES (:round_id, CAST(:asked AS jsonb), :oldest_before, 'planning', '')
""")
"""Write a round of which no user is planned yet."""

LOCK_ROUND = statement("""
    SELECT id, asked, oldest_before, state, planned_through FROM compaction_round
    WHERE id = :round_id AND state IN ('planning', 'running') FOR NO KEY UPDATE
""")
"""Read a round that has not ended; it is planned and ended by one at a time."""

OPEN_ROUNDS = statement("""
    SELECT id FROM compaction_round WHERE state IN ('planning', 'running')
""")
"""Find the rounds that have not ended."""

READ_SPACES = statement(f"""
    SELECT {SPACE} FROM memory_space AS s
    WHERE s.user_id > :through
        AND (:oldest_before IS NULL OR s.oldest_created_at < :oldest_before)
    ORDER BY s.user_id LIMIT :limit
""")  # noqa: S608  # no part of it comes from outside
"""Read a page of the spaces that a round looks at."""

PLAN_PARTS = statement("""
    INSERT INTO compaction_part (round_id, user_id, job_id, state)
    SELECT :round_id, planned.user_id, planned.job_id, 'queued'
    FROM unnest(:users, :job_ids) AS planned (user_id, job_id)
    ON CONFLICT DO NOTHING
""")
"""Write the parts of some users."""

UNSENT = statement("""
    SELECT user_id FROM compaction_part
    WHERE round_id = :round_id AND state = 'queued' AND sent_at IS NULL
""")
"""Find the parts whose jobs are not sent yet, or by somebody who died."""

SENT = statement("""
    UPDATE compaction_part SET sent_at = now(), sends = sends + 1
    WHERE round_id = :round_id AND user_id = ANY(:users)
""")
"""Note that the jobs of some parts are sent."""

GO_ON = statement("""
    UPDATE compaction_round SET planned_through = :through, state = :state WHERE id = :round_id
""")
"""Remember how far a round is planned."""

END_ROUND = statement("""
    UPDATE compaction_round SET state = :state, finished_at = now() WHERE id = :round_id
""")
"""End a round."""

END_PART = statement("""
    UPDATE compaction_part SET state = :state, report = CAST(:report AS jsonb), error = :error
    WHERE user_id = :user_id AND job_id = :job_id RETURNING round_id
""")
"""Record what came of one user's part; nothing if the job is part of no round."""

IN_FLIGHT = statement("""
    SELECT r.state, (
        SELECT count(*) FROM compaction_part WHERE round_id = r.id AND state = 'queued'
    ) AS queued
    FROM compaction_round AS r WHERE r.id = :round_id AND r.state IN ('planning', 'running')
""")
"""Count the parts of a round that have a message on its way."""

SETTLE_PARTS = statement("""
    UPDATE compaction_part AS p SET
        state = CASE j.state WHEN 'done' THEN 'done' ELSE 'failed' END,
        report = CASE j.state WHEN 'done' THEN j.result END, error = j.reason
    FROM job AS j WHERE j.id = p.job_id AND p.state = 'queued' AND p.round_id = :round_id
        AND (j.state <> 'done' OR j.result IS NOT NULL)
""")
"""Record the end of parts whose job has ended: done, parked or cancelled."""

GIVE_UP = statement("""
    UPDATE compaction_part SET state = 'failed', error = :error
    WHERE round_id = :round_id AND state = 'queued' AND sends >= :most_sends
        AND sent_at < now() - make_interval(secs => CAST(:patience_s AS double precision))
""")
"""Fail the parts of which no end is heard however often they are sent."""

MISS = statement("""
    UPDATE compaction_part SET sent_at = NULL
    WHERE round_id = :round_id AND state = 'queued'
        AND sent_at < now() - make_interval(secs => CAST(:patience_s AS double precision))
""")
"""Take the parts of which nothing is heard for too long as not sent."""

SUM_UP = statement("""
    SELECT count(*) AS users, count(*) FILTER (WHERE state = 'failed') AS failed,
        count(*) FILTER (WHERE state <> 'queued') AS ended,
        count(*) FILTER (WHERE CAST(report ->> 'total_compacted' AS bigint) > 0) AS compacted,
        CAST(coalesce(sum(CAST(report ->> 'total_compacted' AS bigint)), 0) AS bigint) AS total
    FROM compaction_part WHERE round_id = :round_id
""")
"""Count a round's users by what came of their parts."""

SUM_UP_STRATEGIES = statement("""
    SELECT strategy.name, min(strategy.did ->> 'trigger') AS trigger,
        CAST(sum(CAST(strategy.did ->> 'removed_count' AS bigint)) AS bigint) AS removed_count,
        CAST(sum(CAST(strategy.did ->> 'before_count' AS bigint)) AS bigint) AS before_count,
        CAST(sum(CAST(strategy.did ->> 'after_count' AS bigint)) AS bigint) AS after_count
    FROM compaction_part, jsonb_each(report) AS strategy (name, did)
    WHERE round_id = :round_id AND state = 'done' AND strategy.did ? 'removed_count'
    GROUP BY strategy.name
""")
"""Sum up what each strategy did over a round's users."""

ERRORS = statement("""
    SELECT user_id, error FROM compaction_part WHERE round_id = :round_id AND state = 'failed'
    ORDER BY user_id LIMIT :limit
""")
"""Read why parts failed."""

UNANSWERED = statement("""
    SELECT id FROM compaction_round WHERE finished_at < now() - interval '5 seconds'
        AND NOT answered ORDER BY finished_at LIMIT :limit
""")
"""Find the rounds that ended and whose end was not told, because its worker died in between."""

ANSWERED = statement("""
    UPDATE compaction_round SET answered = true WHERE id = :round_id
""")
"""Note that the end of a round is told."""
