-- Study sessions: how often a day a student sits down to work, and for how long.
--
-- Means       a session is a run of events with less than 30 minutes between one and the next. It belongs to the day on
--             which it began, also where it goes on past midnight. The one that is under way counts.
-- Not         time looked at the screen: a session of one event lasts 0 minutes, and what comes after the last event of a
--             session is not known. For time that the client measured see time_on_task.
-- Units       minutes; local days in the school's time zone.
-- Expects     any event of the student; nothing in its context.
-- To change   the pause that ends a session: interval '30 minutes'; only some events: a WHERE in study_session; another
--             zone: replace 'America/Mexico_City' in this file.
--
-- A late event can join two sessions into one, and an event less than 30 minutes old keeps its session open: both views
-- follow at once.

-- The session under way; it goes away 30 minutes after the last event.
CREATE MATERIALIZED VIEW study_session WITH (serve = true, explain = 20) AS
SELECT
  student_id,
  count(*)                                                         AS events,
  extract(epoch FROM max(occurred_at) - min(occurred_at)) / 60     AS minutes
FROM behavior
GROUP BY student_id, session(interval '30 minutes');

-- Today.
CREATE MATERIALIZED VIEW sessions_today WITH (serve = true) AS
SELECT student_id, count(*) AS sessions, sum(minutes) AS minutes, max(minutes) AS longest_minutes
FROM study_session
GROUP BY student_id, tumble(interval '1 day', 'America/Mexico_City');

-- The last seven days with today.
CREATE MATERIALIZED VIEW sessions_7d WITH (serve = true, analytics = 'daily') AS
SELECT
  student_id,
  count(*)                           AS sessions,
  round(count(*) / 7.0, 2)           AS sessions_per_day,
  sum(minutes)                       AS minutes,
  round(avg(minutes), 1)             AS mean_minutes
FROM study_session
GROUP BY student_id, hop(interval '1 day', interval '7 days', 'America/Mexico_City');
