-- What becomes of some of the views when the configuration changes; the others stay as views.sql has them.

-- One more output.
CREATE MATERIALIZED VIEW week WITH (explain = 20) AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks, count(distinct event_type) AS kinds, stddev_pop(value) AS spread,
  first(event_type) AS first_kind, last(event_type) AS last_kind
FROM vle
GROUP BY student_id, hop(interval '1 day', interval '7 days');

-- A larger window.
CREATE MATERIALIZED VIEW month AS
SELECT student_id, count(CASE WHEN value > 3 THEN 1 END) AS long_visits, sum(value) AS clicks, max(value) - min(value) AS span
FROM vle
WHERE event_type IN ('forumng', 'oucontent', 'quiz')
GROUP BY student_id, hop(interval '7 days', interval '56 days');

-- A longer gap; rhythm reads these sessions.
CREATE MATERIALIZED VIEW open_session WITH (horizon = '400 days', explain = 5) AS
SELECT student_id, count(*) AS visits, sum(value) AS clicks, first(event_type) AS first_kind, last(event_type) AS last_kind,
  count(distinct occurred_at) AS days, stddev_pop(value) AS spread, window_end AS ends
FROM vle
GROUP BY student_id, session(interval '5 days');

-- A view of its own, with panes that no other one has.
CREATE MATERIALIZED VIEW hours AS
SELECT student_id, count(*) AS visits, max(value) AS most, first(event_type) AS first_kind
FROM vle
GROUP BY student_id, hop(interval '8 hours', interval '40 hours');
