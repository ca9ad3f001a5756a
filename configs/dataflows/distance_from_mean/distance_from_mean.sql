-- Distance from the class mean: where a student's present grades stand among those of the same subject and period.
--
-- Means       per student, over the grades that they have now: the mean distance to the cohort's mean, and in how many
--             subjects the grade lies more than one standard deviation below it. It follows every correction, also of
--             other students' grades.
-- Not         a class in the sense of one teacher's group: a cohort is everybody of the school with a grade in the subject
--             and period. No judgement either: in a strong cohort a good grade lies below the mean.
-- Units       points on the school's scale, so subjects must share one; `lowest_percentile` from 0 to 100, read off a
--             histogram of 20 bins (docs/guides/cohorts.md).
-- Expects     grades: evaluations and a rule (docs/guides/grading-rules.md). Events play no part, and there is no window:
--             periods that are over count as long as their grades are kept.
-- To change   one period: AND period = '2026-Q1'; one subject: AND subject = 'matematicas'; smaller cohorts: the 5 below.
--             It is there so that nobody can tell a classmate's grade from the mean.
CREATE MATERIALIZED VIEW distance_from_mean WITH (serve = true) AS
SELECT
  student_id,
  count(*)                                                                 AS subjects,
  round(avg(score - cohort.mean), 2)                                       AS points_from_mean,
  count(*) FILTER (WHERE score < cohort.mean - cohort.stddev)              AS far_below,
  min(cohort.percentile)                                                   AS lowest_percentile
FROM grades
WHERE cohort.count >= 5 AND score IS NOT NULL
GROUP BY student_id;
