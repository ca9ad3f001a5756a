CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id');

CREATE MATERIALIZED VIEW v AS
SELECT student_id, mean(value) AS a, stddev(value) AS b, approx_distinct(event_type) AS c,
  countIf(value > 1) AS d, any_value(event_type) AS e, array_agg(event_type) AS f
FROM behavior
GROUP BY student_id, hop(interval '1 hour', interval '7 days');
