CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id');

CREATE MATERIALIZED VIEW v AS
SELECT student_id, count(*) AS n
FROM behavior
GROUP BY student_id, tumble(interval '1 day', 'America/Mexico');
