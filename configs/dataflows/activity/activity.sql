-- Activity of every kind: how many events a student made, and the sum of their values.
--
-- Means       everything that clients send counts, by when it happened, whenever it arrived.
-- Not         learning, or attention: an app that sends more events makes a more active student. Compare a student with
--             himself, or events of one type (see the WHERE of participation).
-- Units       counts; sums and means of `value` as decimal texts, in whatever unit the events have. Days and nights are
--             UTC's, not the school's.
-- Expects     any event; nothing in its context.
-- To change   local days: tumble(interval '1 day', 'America/Mexico_City'), see attendance; the hours that are night.

-- Today's, in UTC: starts from nothing at midnight.
CREATE MATERIALIZED VIEW activity_today WITH (serve = true, explain = 10) AS
SELECT student_id, count(*) AS events, sum(value) AS total_value
FROM behavior
GROUP BY student_id, tumble(interval '1 day');

-- The last 24 hours, to the hour.
CREATE MATERIALIZED VIEW activity_1d WITH (serve = true, explain = 10) AS
SELECT student_id, count(*) AS events, sum(value) AS total_value
FROM behavior
GROUP BY student_id, hop(interval '1 hour', interval '1 day');

-- The last seven days, to the day. Weekend work and night work are told apart by when the event happened, in UTC.
CREATE MATERIALIZED VIEW activity_7d WITH (serve = true, analytics = 'daily', explain = 20) AS
SELECT
  student_id,
  count(*)                                                                   AS events,
  sum(value)                                                                 AS total_value,
  sum(value) / count(*)                                                      AS mean_value,
  count(CASE WHEN extract(isodow FROM occurred_at) >= 6 THEN 1 END)          AS weekend_events,
  count(CASE WHEN extract(hour FROM occurred_at) NOT BETWEEN 6 AND 21 THEN 1 END) AS night_events
FROM behavior
GROUP BY student_id, hop(interval '1 day', interval '7 days');
