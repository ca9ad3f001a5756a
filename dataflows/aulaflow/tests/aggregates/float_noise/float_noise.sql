CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at',
        lateness = '10 minutes', dedupe = 'event_id', dedupe_horizon = '24 hours');

-- What floats add to a number is no fault: a value is kept to the nearest millionth.
CREATE MATERIALIZED VIEW float_noise AS
SELECT student_id, count(*) AS n, sum(value) AS total, max(value) AS most
FROM behavior GROUP BY student_id, tumble(interval '3650 days');
