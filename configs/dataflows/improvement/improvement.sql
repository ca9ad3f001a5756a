-- Improvement over four weeks: the trend of a student's quiz results, in percent points a week.
--
-- Means       the results of a day become one mean; through the days' means of the last 28 days goes the straight line
--             that fits best (least squares); its slope is the trend. Above 0: results rise. A day with ten quizzes weighs
--             as much as a day with one.
-- Not         a forecast, or a grade. With two or three days a single bad morning makes the trend: look at `days` before
--             at `points_per_week`. Harder quizzes at the end of a term look like a decline.
-- Units       percent of the maximum (0 to 100); percent points a week. Null with results of one day only.
-- Expects     event_type 'quiz', with "context": { "score": 17, "max_score": 20 }; the maximum is 100 where it is not
--             said. A quiz whose score is no number does not count.
-- To change   another measure: the WHERE and the expression of quiz_daily; another length: the second interval of hop, and
--             a `log.retention` as long; another zone: replace 'America/Mexico_City' in this file.
CREATE MATERIALIZED VIEW quiz_daily WITH (serve = false) AS
SELECT
  student_id,
  avg(100 * TRY_CAST(context->>'score' AS DOUBLE) / coalesce(TRY_CAST(context->>'max_score' AS DOUBLE), 100))   AS percent
FROM behavior
WHERE event_type = 'quiz'
  AND TRY_CAST(context->>'score' AS DOUBLE) IS NOT NULL
  AND coalesce(TRY_CAST(context->>'max_score' AS DOUBLE), 100) > 0
GROUP BY student_id, tumble(interval '1 day', 'America/Mexico_City');

-- Days are numbered from midnight to midnight, which in UTC is not the same hour all year: hence the rounding.
CREATE MATERIALIZED VIEW improvement_28d WITH (serve = true, analytics = 'daily') AS
SELECT
  student_id,
  count(*)                                                                                     AS days,
  round(regr_slope(percent, round(extract(epoch FROM window_start) / 86400)) * 7, 2)           AS points_per_week,
  round(avg(percent), 2)                                                                       AS mean_percent,
  last(percent)                                                                                AS last_percent
FROM quiz_daily
GROUP BY student_id, hop(interval '1 day', interval '28 days', 'America/Mexico_City');
