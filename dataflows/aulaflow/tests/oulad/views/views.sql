-- Twelve views, which together have every window and every aggregate. expected.sql says the same for a SQL engine.

CREATE MATERIALIZED VIEW today AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks, avg(value) AS mean_clicks, min(value) AS least, max(value) AS most
FROM vle
GROUP BY student_id, tumble(interval '1 day');

CREATE MATERIALIZED VIEW week WITH (explain = 20) AS
SELECT student_id, count(*) AS visits, count(distinct event_type) AS kinds, stddev_pop(value) AS spread,
  first(event_type) AS first_kind, last(event_type) AS last_kind
FROM vle
GROUP BY student_id, hop(interval '1 day', interval '7 days');

CREATE MATERIALIZED VIEW month AS
SELECT student_id, count(CASE WHEN value > 3 THEN 1 END) AS long_visits, sum(value) AS clicks, max(value) - min(value) AS span
FROM vle
WHERE event_type IN ('forumng', 'oucontent', 'quiz')
GROUP BY student_id, hop(interval '7 days', interval '28 days');

CREATE MATERIALIZED VIEW year AS
SELECT student_id, count(*) AS visits, avg(value) AS mean_clicks, stddev_pop(value) AS spread,
  regr_slope(value, extract(epoch FROM occurred_at) / 86400) AS trend,
  count(distinct value) AS lengths, min(event_type) AS least_kind, max(event_type) AS greatest_kind,
  first(occurred_at) AS since, last(value) AS last_clicks, max(occurred_at) AS seen
FROM vle
GROUP BY student_id, hop(interval '7 days', interval '364 days');

CREATE MATERIALIZED VIEW open_session WITH (horizon = '400 days', explain = 5) AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks, first(event_type) AS first_kind, last(event_type) AS last_kind,
  count(distinct occurred_at) AS days, stddev_pop(value) AS spread, window_end AS ends
FROM vle
GROUP BY student_id, session(interval '3 days');

-- Horizon: ten gaps, so that what is older than that is not seen of most of these sessions.
CREATE MATERIALIZED VIEW long_session AS
SELECT student_id, count(*) AS visits, max(value) AS most, min(occurred_at) AS since,
  regr_slope(value, extract(epoch FROM occurred_at) / 86400) AS trend
FROM vle
WHERE event_type <> 'homepage'
GROUP BY student_id, session(interval '7 days');

-- 12:00 UTC, when all events happen, is midnight there in winter, and 1:00 in summer.
CREATE MATERIALIZED VIEW auckland_day AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks, last(event_type) AS last_kind, window_start AS midnight
FROM vle
GROUP BY student_id, tumble(interval '1 day', 'Pacific/Auckland');

CREATE MATERIALIZED VIEW auckland_month WITH (explain = 50) AS
SELECT student_id, avg(value) AS mean_clicks, count(distinct event_type) AS kinds, first(value) AS first_clicks, min(value) AS least
FROM vle
GROUP BY student_id, hop(interval '1 day', interval '28 days', 'Pacific/Auckland');

CREATE MATERIALIZED VIEW london_week AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks, max(event_type) AS greatest_kind
FROM vle
GROUP BY student_id, tumble(interval '7 days', 'Europe/London');

CREATE MATERIALIZED VIEW daily_trend AS
SELECT student_id, count(*) AS days, regr_slope(visits, extract(epoch FROM window_start) / 86400) AS trend,
  avg(mean_clicks) AS mean_of_means, max(clicks) AS most, last(visits) AS last_visits
FROM today
GROUP BY student_id, hop(interval '7 days', interval '56 days');

CREATE MATERIALIZED VIEW rhythm AS
SELECT student_id, count(*) AS sessions, avg(extract(epoch FROM window_end) - extract(epoch FROM window_start)) AS seconds,
  stddev_pop(visits) AS spread, last(clicks) AS last_clicks, first(last_kind) AS first_last_kind
FROM open_session
GROUP BY student_id, hop(interval '1 day', interval '28 days');

-- Weeks in a row.
CREATE MATERIALIZED VIEW streak AS
SELECT student_id, count(*) AS weeks, sum(clicks) AS clicks, min(visits) AS least_visits, first(greatest_kind) AS first_kind
FROM london_week
GROUP BY student_id, session(interval '14 days');
