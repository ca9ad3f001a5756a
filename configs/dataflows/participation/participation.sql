-- Participation of the last seven days: how often a student took part or answered, and the points that it gave.
--
-- The window moves on every hour, so an event counts for seven days to the hour. In the profile:
--   "participation_7d": { "participations": 5, "points": "12.5", "window": … }
--
-- serve     = true     in profiles
-- analytics = 'daily'  a row per student and day in ClickHouse
-- explain   = 20       an explanation shows the last 20 events that count
CREATE MATERIALIZED VIEW participation_7d WITH (serve = true, analytics = 'daily', explain = 20) AS
SELECT student_id, count(*) AS participations, sum(value) AS points
FROM behavior
WHERE event_type IN ('participation', 'answer')
GROUP BY student_id, hop(interval '1 hour', interval '7 days');
