-- Twenty features over the Open University dataset, of every kind. `views` takes the first 1, 5, 10 and all of them.
CREATE TABLE vle (
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
  dedupe         = 'event_id',
  dedupe_horizon = '8 days'
);

CREATE MATERIALIZED VIEW clicks_7d AS
SELECT student_id, count(*) AS events, sum(value) AS clicks FROM vle
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW clicks_1d AS
SELECT student_id, count(*) AS events, sum(value) AS clicks, avg(value) AS mean FROM vle
GROUP BY student_id, tumble(interval '1 day');

CREATE MATERIALIZED VIEW forum_28d AS
SELECT student_id, count(*) AS visits, max(occurred_at) AS latest FROM vle WHERE event_type = 'forumng'
GROUP BY student_id, hop(interval '1 day', interval '28 days');

CREATE MATERIALIZED VIEW kinds_7d AS
SELECT student_id, count(distinct event_type) AS kinds FROM vle
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW spell AS
SELECT student_id, count(*) AS events, min(occurred_at) AS since FROM vle
GROUP BY student_id, session(interval '3 days');

CREATE MATERIALIZED VIEW quizzes_7d AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks FROM vle WHERE event_type ILIKE '%quiz%'
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW spread_28d AS
SELECT student_id, stddev_pop(value) AS spread, max(value) AS most FROM vle
GROUP BY student_id, hop(interval '1 day', interval '28 days');

CREATE MATERIALIZED VIEW london_day AS
SELECT student_id, count(*) AS events, sum(value) AS clicks FROM vle
GROUP BY student_id, tumble(interval '1 day', 'Europe/London');

CREATE MATERIALIZED VIEW trend_28d AS
SELECT student_id, regr_slope(clicks, extract(epoch from window_start) / 86400) AS per_day FROM clicks_1d
GROUP BY student_id, hop(interval '1 day', interval '28 days');

CREATE MATERIALIZED VIEW latest_7d AS
SELECT student_id, first(event_type) AS began_with, last(event_type) AS ended_with FROM vle
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW clicks_14d AS
SELECT student_id, count(*) AS events, sum(value) AS clicks FROM vle
GROUP BY student_id, hop(interval '1 day', interval '14 days');

CREATE MATERIALIZED VIEW clicks_28d AS
SELECT student_id, count(*) AS events, sum(value) AS clicks FROM vle
GROUP BY student_id, hop(interval '1 day', interval '28 days');

CREATE MATERIALIZED VIEW content_7d AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks FROM vle WHERE event_type = 'oucontent'
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW resource_7d AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks FROM vle WHERE event_type = 'resource'
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW homepage_7d AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks FROM vle WHERE event_type = 'homepage'
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW subpage_7d AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks FROM vle WHERE event_type = 'subpage'
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW url_7d AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks FROM vle WHERE event_type = 'url'
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW heavy_7d AS
SELECT student_id, count(*) AS visits, avg(value) AS clicks FROM vle WHERE value > 5
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW days_28d AS
SELECT student_id, count(*) AS days, avg(events) AS events_a_day FROM london_day
GROUP BY student_id, hop(interval '1 day', interval '28 days', 'Europe/London');

CREATE MATERIALIZED VIEW week AS
SELECT student_id, count(*) AS events, sum(value) AS clicks FROM vle
GROUP BY student_id, tumble(interval '7 days', 'Europe/London');
