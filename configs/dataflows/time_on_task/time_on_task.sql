-- Time on task: minutes that a student spent on activities, as the events' own context tells it, such as
--   { "event_type": "activity_end", "context": { "seconds": 420, "device": "phone" }, … }
--
-- What is no number of seconds counts nothing (TRY_CAST gives NULL, and sum leaves NULLs out), and one activity counts
-- at most two hours: a page left open over night is no work.
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
