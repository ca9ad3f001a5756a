CREATE TABLE behavior (event_id TEXT, student_id TEXT, event_type TEXT, value DOUBLE, occurred_at TIMESTAMP,
    context JSON) WITH (connector = 'log', topic = 'aula.behavior.v1', event_time = 'occurred_at', dedupe = 'event_id',
    dedupe_horizon = '24 hours');

CREATE MATERIALIZED VIEW shares AS
SELECT student_id,
  count(*) FILTER (WHERE event_type = 'late') / count(*) AS late_share,
  100 * count(value) / count(*) AS percent,
  sum(length(context->>'text')) / (count(*) + 1) AS mean_length,
  count(*) / 7 AS a_day,
  sum(value) * (1 / 2) AS half
FROM behavior GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW counts AS
SELECT student_id,
  count(event_type = 'quiz') AS quizzes,
  count(CASE WHEN event_type = 'post' THEN 1 ELSE 0 END) AS posts,
  count(*) FILTER (WHERE value = NULL) AS unknown,
  count(*) FILTER (WHERE value BETWEEN 10 AND 5) AS between_them,
  count(*) FILTER (WHERE extract(dow FROM occurred_at) = 7) AS sundays
FROM behavior
WHERE event_type = 'quiz' AND event_type = 'post'
GROUP BY student_id, tumble(interval '1 day');

CREATE MATERIALIZED VIEW weekly WITH (serve = false) AS
SELECT student_id, count(*) AS events FROM behavior GROUP BY student_id, tumble(interval '7 days');

CREATE MATERIALIZED VIEW this_week AS
SELECT student_id,
  sum(CASE WHEN window_start = window_end - interval '7 days' THEN events ELSE 0 END) AS this_week,
  sum(events) FILTER (WHERE window_end - window_start > interval '6 days') AS all_of_them
FROM weekly GROUP BY student_id, hop(interval '7 days', interval '28 days');

CREATE MATERIALIZED VIEW never AS
SELECT student_id, count(*) AS n FROM behavior WHERE 1 = 2 GROUP BY student_id, tumble(interval '1 day');
