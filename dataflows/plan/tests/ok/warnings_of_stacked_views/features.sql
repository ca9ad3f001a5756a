CREATE MATERIALIZED VIEW sessions_28d AS
SELECT student_id, count(*) AS sessions, avg(events) AS events_each
FROM sessions
GROUP BY student_id, hop(interval '1 day', interval '28 days', 'America/Mexico_City');

CREATE MATERIALIZED VIEW sessions WITH (horizon = '10 days') AS
SELECT student_id, count(*) AS events
FROM behavior
GROUP BY student_id, session(interval '1 hour');

CREATE MATERIALIZED VIEW standing AS
SELECT student_id, min(cohort.percentile) AS lowest
FROM grades
GROUP BY student_id;

CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, occurred_at TIMESTAMP
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id',
        dedupe_horizon = '28 days');
