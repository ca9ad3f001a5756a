CREATE TABLE behavior (
  event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP, context JSON
) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at',
        lateness = '10 minutes', dedupe = 'event_id', dedupe_horizon = '24 hours');

-- An argument without a value leaves the event out of its own aggregate, and of nothing else.
CREATE MATERIALIZED VIEW left_out AS
SELECT student_id, count(*) AS n, sum(value) AS total, sum(10 / value) AS tenths, count(10 / value) AS tenths_of,
       first(10 / value) AS first_tenth, avg(10 / value) * 2 AS twice,
       max(CAST(context->>'k' AS BIGINT)) AS most, sum(value * 1e20) AS much, stddev_pop(value * 1e20) AS spread,
       regr_slope(10 / value, value) AS slope
FROM behavior GROUP BY student_id, tumble(interval '3650 days');
CREATE MATERIALIZED VIEW without AS
SELECT student_id, count(*) AS n FROM behavior WHERE 10 / value > 0 GROUP BY student_id, tumble(interval '3650 days');
