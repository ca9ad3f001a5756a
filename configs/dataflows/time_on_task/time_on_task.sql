-- Time on task: minutes that a student spent on activities in the last seven days, as the client measured them.
--
-- Means       each activity counts at most two hours: a page left open over night is no work. Below zero counts as zero.
-- Not         time at the desk: only what clients measure and send. Without such events see sessions_per_day, which infers
--             it from pauses.
-- Units       minutes, as decimal texts; `activities` and `on_phone` are counts.
-- Expects     event_type 'activity_…', with "context": { "seconds": 420, "device": "phone" }. Without seconds an event is
--             no activity; where they are no number it is one, and adds no minutes (TRY_CAST gives NULL, which sum and avg
--             leave out).
-- To change   the cap: 7200, twice; one kind of activity: event_type = 'activity_quiz'; the length: the second interval of
--             hop.
CREATE MATERIALIZED VIEW time_on_task_7d WITH (serve = true, analytics = 'daily', explain = 20) AS
SELECT
  student_id,
  count(*)                                                                        AS activities,
  sum(least(greatest(TRY_CAST(context->>'seconds' AS DOUBLE), 0), 7200)) / 60     AS minutes,
  avg(least(greatest(TRY_CAST(context->>'seconds' AS DOUBLE), 0), 7200)) / 60     AS mean_minutes,
  count(CASE WHEN lower(context->>'device') = 'phone' THEN 1 END)                 AS on_phone
FROM behavior
WHERE event_type LIKE 'activity\_%' AND context->>'seconds' IS NOT NULL
GROUP BY student_id, hop(interval '1 hour', interval '7 days');
