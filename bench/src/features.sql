-- Five features that one event can all change: what the measurements run on.
CREATE TABLE behavior (
  event_id    TEXT,
  student_id  TEXT,
  event_type  TEXT,
  value       DOUBLE,
  occurred_at TIMESTAMP,
  context     JSON
) WITH (
  connector      = 'log',
  topic          = 'aula.behavior.v1',
  event_time     = 'occurred_at',
  lateness       = '10 minutes',
  dedupe         = 'event_id',
  dedupe_horizon = '24 hours'
);

CREATE MATERIALIZED VIEW participation_7d WITH (serve = true) AS
SELECT student_id, count(*) AS participations, sum(value) AS points
FROM behavior
WHERE event_type IN ('participation', 'answer')
GROUP BY student_id, hop(interval '1 hour', interval '7 days');

CREATE MATERIALIZED VIEW activity_today WITH (serve = true) AS
SELECT student_id, count(*) AS events, sum(value) AS total_value
FROM behavior
GROUP BY student_id, tumble(interval '1 day');

CREATE MATERIALIZED VIEW activity_1d WITH (serve = true) AS
SELECT student_id, count(*) AS events, sum(value) AS total_value
FROM behavior
GROUP BY student_id, hop(interval '1 hour', interval '1 day');

CREATE MATERIALIZED VIEW activity_7d WITH (serve = true) AS
SELECT
  student_id,
  count(*)                                                               AS events,
  sum(value) / count(*)                                                  AS mean_value,
  count(CASE WHEN extract(isodow FROM occurred_at) >= 6 THEN 1 END)      AS weekend_events
FROM behavior
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW time_on_task_7d WITH (serve = true) AS
SELECT
  student_id,
  sum(least(greatest(TRY_CAST(context->>'seconds' AS DOUBLE), 0), 7200)) / 60 AS minutes
FROM behavior
WHERE context->>'seconds' IS NOT NULL
GROUP BY student_id, hop(interval '1 hour', interval '7 days');
