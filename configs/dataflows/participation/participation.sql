-- Participation of the last seven days: how often a student took part or answered, and the points that it gave.
--
-- Means       every event counts once, however often the client sends it. The window moves on every hour, so that an event
--             counts for seven days to the hour.
-- Not         right answers: that depends on what `value` holds. What was said, or how well: points are what the client
--             gives.
-- Units       `participations` a count; `points` the sum of the events' values, as a decimal text.
-- Expects     event_type 'participation' or 'answer', and `value` (1 where the event does not say); nothing in its context.
-- To change   the event types in WHERE; the length: the second interval of hop; how often it moves: the first.
--
-- In the profile:   "participation_7d": { "participations": 5, "points": "12.5", "window": … }
--
-- serve     = true     in profiles
-- analytics = 'daily'  a row per student and day in ClickHouse
-- explain   = 20       an explanation shows the last 20 events that count
CREATE MATERIALIZED VIEW participation_7d WITH (serve = true, analytics = 'daily', explain = 20) AS
SELECT student_id, count(*) AS participations, sum(value) AS points
FROM behavior
WHERE event_type IN ('participation', 'answer')
GROUP BY student_id, hop(interval '1 hour', interval '7 days');
