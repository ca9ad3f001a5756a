-- Days since a student was last seen: to find who has gone quiet.
--
-- Means       local calendar days from the day of the last event to today: 0 for today, 1 for yesterday, also where
--             that was five minutes before midnight. It grows by itself at midnight, without an event.
-- Not         absence from school: only what the platform sees counts, see attendance. Nobody seen within 28 days, or
--             ever, has a row at all: "no row" is the alarm for those.
-- Units       days in the school's time zone; `last_seen` is an instant in UTC.
-- Expects     any event of the student; nothing in its context.
-- To change   what counts as seen: a WHERE in seen_daily (an event that a machine sends at night should not count); how
--             far back: interval '28 days', and a `log.retention` as long; another zone: replace 'America/Mexico_City'.
CREATE MATERIALIZED VIEW seen_daily WITH (serve = false) AS
SELECT student_id, max(occurred_at) AS last_event
FROM behavior
GROUP BY student_id, tumble(interval '1 day', 'America/Mexico_City');

-- max(window_start) is the midnight at which the last day seen began, window_end the one at which today ends. Days are 23
-- to 25 hours long, so that the quotient is rounded.
CREATE MATERIALIZED VIEW last_seen WITH (serve = true) AS
SELECT
  student_id,
  CAST(round(extract(epoch FROM window_end - max(window_start)) / 86400) AS BIGINT) - 1   AS days_ago,
  max(last_event)                                                                         AS last_seen
FROM seen_daily
GROUP BY student_id, hop(interval '1 day', interval '28 days', 'America/Mexico_City');
