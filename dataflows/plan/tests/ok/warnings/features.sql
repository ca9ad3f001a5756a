CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at',
        lateness = '10 minutes', dedupe = 'event_id', dedupe_horizon = '24 hours');

CREATE MATERIALIZED VIEW participation_60d WITH (serve = true) AS
SELECT student_id, count(*) AS participations
FROM behavior
GROUP BY student_id, hop(interval '1 day', interval '60 days');

