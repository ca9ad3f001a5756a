CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id');

CREATE MATERIALIZED VIEW daily AS
SELECT student_id, count(*) AS n FROM behavior GROUP BY student_id, tumble(interval '1 day', 'America/Mexico_City');

CREATE MATERIALIZED VIEW v WITH (explain = 20) AS
SELECT student_id, max(n) AS most
FROM daily
GROUP BY student_id, tumble(interval '7 days', 'America/Mexico_City');
