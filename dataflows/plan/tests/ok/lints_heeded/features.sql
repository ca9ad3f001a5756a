CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP,
    context JSON) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id',
    dedupe_horizon = '24 hours');

-- What the warnings advise, and what only looks like what they warn of.
CREATE MATERIALIZED VIEW shares AS
SELECT student_id,
  CAST(count(*) FILTER (WHERE event_type = 'late') AS DOUBLE) / count(*) AS late_share,
  CAST(100 * count(value) / count(*) AS BIGINT) AS percent,
  floor(count(*) / 7) AS whole_days,
  sum(value) / count(*) AS mean,
  avg(length(context->>'text') / 10) AS tens,
  extract(epoch FROM max(occurred_at) - min(occurred_at)) / 86400 AS days,
  sum(value) * (4 / 2) AS double
FROM behavior GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW counts AS
SELECT student_id,
  count(*) FILTER (WHERE event_type = 'quiz') AS quizzes,
  count(CASE WHEN event_type = 'post' THEN 1 END) AS posts,
  sum(CASE WHEN event_type = 'post' THEN 1 ELSE 0 END) AS posts_too,
  count(*) FILTER (WHERE value IS NULL) AS unknown,
  count(*) FILTER (WHERE value BETWEEN 5 AND 10) AS between_them,
  count(*) FILTER (WHERE extract(isodow FROM occurred_at) = 7) AS sundays
FROM behavior
WHERE event_type = 'quiz' OR event_type = 'post'
GROUP BY student_id, tumble(interval '1 day');

CREATE MATERIALIZED VIEW weekly WITH (serve = false) AS
SELECT student_id, count(*) AS events FROM behavior GROUP BY student_id, tumble(interval '7 days');

CREATE MATERIALIZED VIEW this_week AS
SELECT student_id,
  CASE WHEN extract(epoch FROM window_end - max(window_start)) <= 604800 THEN last(events) END AS this_week,
  sum(events) FILTER (WHERE window_start >= TIMESTAMP '2026-01-01') AS this_year
FROM weekly GROUP BY student_id, hop(interval '7 days', interval '28 days');

CREATE MATERIALIZED VIEW studying WITH (serve = false) AS
SELECT student_id, count(*) AS events FROM behavior GROUP BY student_id, session(interval '30 minutes');

CREATE MATERIALIZED VIEW long_sessions AS
SELECT student_id, count(*) FILTER (WHERE window_end - window_start > interval '2 hours') AS long
FROM studying GROUP BY student_id, hop(interval '1 day', interval '7 days');
